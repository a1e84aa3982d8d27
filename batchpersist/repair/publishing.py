"""Putting manifests in place only where nothing has happened there meanwhile: no lock protects them."""

from __future__ import annotations

import os

from ..files.atomic import StagedFile, make_dirs, stage
from ..files.durability import SyncGroup
from ..files.folders import refuse_link
from ..files.versions import Version, version_of
from ..layout import Layout


def stage_manifest(
    layout: Layout, task_id: str, run_id: str, text: bytes, group: SyncGroup, mode: int | None = None
) -> StagedFile:
    """Write a manifest's text beside its place; its folder is made. Raises OSError, also for a link there."""
    refuse_link(layout.task_runs_dir(task_id))
    make_dirs(layout.run_dir(task_id, run_id), group, follow=False)
    return stage(layout.manifest(task_id, run_id), (text,), group, mode=mode)


def publish_new(staged: StagedFile, group: SyncGroup) -> bool:
    """Put it in place unless something stands there: whoever wrote that may know better. Raises OSError."""
    try:
        os.link(staged.temporary, staged.target)
    except FileExistsError:
        staged.discard()
        return False
    except OSError:  # this file system has no links
        return publish_over(staged, None, group)
    staged.discard()
    group.renamed(staged.target)
    return True


def publish_over(staged: StagedFile, before: Version | None, group: SyncGroup) -> bool:
    """Put it in the place of a file of this version (None: of none); not where there is another by now.

    Raises OSError; then, as where it is not put in place, nothing is left of it.
    """
    try:
        is_same = version_of(staged.target) == before
    except OSError:
        staged.discard()
        raise
    if not is_same:
        staged.discard()
        return False
    staged.publish(group)
    return True
