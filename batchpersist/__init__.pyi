from .audit import AuditOptions as AuditOptions
from .audit import AuditReport as AuditReport
from .audit import audit_root as audit_root
from .batch import run_batch as run_batch
from .batchreport import BatchReport as BatchReport
from .coordinator import PersistenceCoordinator as PersistenceCoordinator
from .errors import BatchPersistError as BatchPersistError
from .errors import InvalidRunError as InvalidRunError
from .errors import SnapshotError as SnapshotError
from .errors import TaskStateLockError as TaskStateLockError
from .events import EventBus as EventBus
from .locks import LockPolicy as LockPolicy
from .manifest import RunManifestWriter as RunManifestWriter
from .models import Durability as Durability
from .models import Keys as Keys
from .models import Side as Side
from .options import BatchOptions as BatchOptions
from .plan import Selection as Selection
from .policy import FailurePolicy as FailurePolicy
from .preview import preview_batch as preview_batch
from .snapshot import TaskStateStore as TaskStateStore

__version__: str
