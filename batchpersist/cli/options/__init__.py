"""The commands' options, in groups by theme: a command declares those that it has, as others do.

``declare`` puts groups on a command; a command of class ``Sectioned`` shows in its help which
belong together.
"""

from .sections import Declare, Group, Sectioned, declare, section

__all__ = ["Declare", "Group", "Sectioned", "declare", "section"]
