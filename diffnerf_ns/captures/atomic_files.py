"""Files that are either whole or absent, and names for what they contain."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from pathlib import Path

TEMPORARY_SUFFIX = ".part"
"""Ends the names of files that are still being written."""


def write_bytes_atomically(path: Path, content: bytes, durable: bool = False) -> None:
    """Writes a file so that a reader, a crash or a full disk never meets half of it.

    Args:
        path: where the file goes; its folder is made if needed.
        content: all of the file.
        durable: wait until the content has reached the disk, so that it outlives a power cut too.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY_SUFFIX)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.chmod(temporary_name, 0o666 & ~_umask())
            os.replace(temporary_name, path)
        except BaseException:
            Path(temporary_name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _with_remedy(error, path, len(content)) from error


def content_hash(*parts: bytes | str) -> str:
    """SHA-256 of the parts in order; each part is delimited, so ("ab", "c") differs from ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of what a file contains."""
    return content_hash(path.read_bytes())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _with_remedy(error: OSError, path: Path, size_bytes: int) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"no space left for {size_bytes / 1e6:.1f} MB: free space there or choose another folder"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "no permission to write there: choose another folder"
    else:
        return error
    return OSError(error.errno, reason, str(path))
