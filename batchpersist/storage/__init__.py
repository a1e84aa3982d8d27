"""Files on disk: written whole, made durable, opened safely, recognized by fingerprints.

Nothing here knows what the files hold. Its modules are its public names.
"""

__all__ = [
    "atomic_write",
    "file_reader",
    "fingerprint",
    "fsync",
    "result_files",
    "temp_files",
]
