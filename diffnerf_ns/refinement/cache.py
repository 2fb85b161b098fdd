"""Refined depth on disk, named by everything it depends on, so that nothing is ever refined twice or used wrongly.

    ROOT/frames/KE/KEY.depth     one frame: magic, SHA-256 of the rest, JSON header, compressed arrays
    ROOT/manifests/NAME.json     which capture and refiner a set of frames belongs to; for people, not needed to load

Files appear whole or not at all and are never changed, so any number of processes may share a cache and any of them
may be killed. A frame whose checksum is wrong counts as absent and is written anew.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diffnerf_ns.captures.atomic_files import TEMPORARY_SUFFIX, content_hash, write_bytes_atomically
from diffnerf_ns.captures.capture_errors import CaptureError

MAGIC = b"DNDEPTH1"
DIGEST_BYTES = 32
FRAME_SUFFIX = ".depth"
STALE_AFTER_S = 3600.0
"""Seconds after which a temporary file cannot belong to a running process any more."""

FrameArrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]
"""depth_z_m, sigma_z_m and provenance [height, width]."""


def default_cache_dir() -> Path:
    """The user's cache folder: $XDG_CACHE_HOME/diffnerf_ns, or ~/.cache/diffnerf_ns."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffnerf_ns"


@dataclass(frozen=True)
class Manifest:
    """A set of frames that were refined together."""

    capture: str
    """Folder of the capture."""
    refiner: str
    """Fingerprint of the refiner."""
    keys: dict[str, str]
    """Cache key by frame name."""


@dataclass(frozen=True)
class RefinementCache:
    """Refined frames in a folder; see the module's description for what lies where."""

    root: Path

    def file_of(self, key: str) -> Path:
        """Where the frame with this key lies, whether or not it is there."""
        return self.root / "frames" / key[:2] / f"{key}{FRAME_SUFFIX}"

    def read_info(self, key: str) -> dict[str, Any] | None:
        """What was noted about an intact frame; None if it is absent or damaged."""
        found = self._read(key)
        return found[0]["info"] if found else None

    def load(self, key: str) -> FrameArrays | None:
        """An intact frame's depth_z_m, sigma_z_m (metres) and provenance; None if it is absent or damaged."""
        found = self._read(key)
        return _decode(*found) if found else None

    def load_again(self, key: str, frame: str) -> FrameArrays:
        """As `load`, for a frame that was there; CaptureError if it is gone.

        Args:
            key: from `frame_key`.
            frame: its name, for the message.
        """
        found = self.load(key)
        if found is None:
            raise CaptureError(
                self.file_of(key),
                "refined depth",
                f"was removed or damaged meanwhile ({frame})",
                "Start again: it is refined anew.",
            )
        return found

    def save(self, key: str, arrays: FrameArrays, info: Mapping[str, Any]) -> None:
        """Stores a frame. Depth is rounded to 1/65535 of the frame's largest depth, sigma to 11 significant bits.

        Args:
            key: from `frame_key`.
            arrays: depth_z_m, sigma_z_m (metres) and provenance.
            info: what to note about the frame; JSON.
        """
        header, payload = _encode(*arrays)
        header_bytes = json.dumps({**header, "info": dict(info)}).encode()
        content = struct.pack("<I", len(header_bytes)) + header_bytes + payload
        write_bytes_atomically(self.file_of(key), MAGIC + sha256(content).digest() + content)

    def write_manifest(self, manifest: Manifest) -> None:
        """Notes for people which frames belong together."""
        name = content_hash(manifest.capture, manifest.refiner, *manifest.keys)[:32]
        write_bytes_atomically(
            self.root / "manifests" / f"{name}.json", (json.dumps(vars(manifest), indent=1) + "\n").encode()
        )

    def manifests(self) -> Iterator[Manifest]:
        """All readable manifests."""
        return (manifest for _, manifest in self._manifests_with_files())

    def frame_files(self) -> Iterator[Path]:
        """The files of all frames, damaged ones too."""
        return iter(sorted((self.root / "frames").glob(f"*/*{FRAME_SUFFIX}")))

    def verify(self) -> list[Path]:
        """Removes damaged frames and what killed processes left behind; returns the damaged frames' files."""
        damaged = [file for file in self.frame_files() if self._read(file.stem) is None]
        for file in [*damaged, *self._stale_files()]:
            file.unlink(missing_ok=True)
        return damaged

    def clear(self, capture: str | None = None) -> int:
        """Removes all frames, or those of one capture that no other capture shares; returns how many.

        Args:
            capture: the capture's folder as its manifest names it.
        """
        kept = set()
        if capture is not None:
            kept = {file.stem for file in self.frame_files()}
            for manifest in self.manifests():
                kept -= set(manifest.keys.values()) if manifest.capture == capture else set()
            for manifest in self.manifests():
                kept |= set(manifest.keys.values()) if manifest.capture != capture else set()
        removed = [file for file in self.frame_files() if file.stem not in kept]
        manifests = [file for file, manifest in self._manifests_with_files() if capture in (None, manifest.capture)]
        for file in [*removed, *self._stale_files(), *manifests]:
            file.unlink(missing_ok=True)
        return len(removed)

    def _manifests_with_files(self) -> Iterator[tuple[Path, Manifest]]:
        for file in sorted((self.root / "manifests").glob("*.json")):
            try:
                yield file, Manifest(**json.loads(file.read_text()))
            except (OSError, ValueError, TypeError):
                continue

    def _stale_files(self) -> list[Path]:
        latest = time.time() - STALE_AFTER_S
        return [file for file in self.root.rglob(f".*{TEMPORARY_SUFFIX}") if file.stat().st_mtime < latest]

    def _read(self, key: str) -> tuple[dict[str, Any], bytes] | None:
        try:
            stored = self.file_of(key).read_bytes()
        except OSError:
            return None
        start = len(MAGIC) + DIGEST_BYTES
        content = stored[start:]
        if not stored.startswith(MAGIC) or sha256(content).digest() != stored[len(MAGIC) : start]:
            return None
        (header_size,) = struct.unpack_from("<I", content)
        return json.loads(content[4 : 4 + header_size]), content[4 + header_size :]


def cache_in(folder: Path | None) -> RefinementCache:
    """The cache in a folder; the user's own for None."""
    return RefinementCache(folder or default_cache_dir())


def _encode(
    depth_z_m: npt.NDArray[np.float32], sigma_z_m: npt.NDArray[np.float32], provenance: npt.NDArray[np.uint8]
) -> tuple[dict[str, Any], bytes]:
    metres_per_level = float(depth_z_m.max(initial=0.0)) / 65535 or 1.0
    levels = np.rint(depth_z_m / metres_per_level)
    levels = np.where(depth_z_m > 0, np.maximum(levels, 1), 0).astype("<u2")
    sigma = np.where(sigma_z_m > 0, np.clip(sigma_z_m, 1e-6, 6e4), 0).astype("<f2")
    payload = zlib.compress(levels.tobytes() + sigma.tobytes() + provenance.tobytes(), level=1)
    return {"shape": list(depth_z_m.shape), "metres_per_level": metres_per_level}, payload


def _decode(header: Mapping[str, Any], payload: bytes) -> FrameArrays:
    height, width = header["shape"]
    count = height * width
    raw = zlib.decompress(payload)
    levels = np.frombuffer(raw, "<u2", count).reshape(height, width)
    sigma = np.frombuffer(raw, "<f2", count, offset=2 * count).reshape(height, width)
    provenance = np.frombuffer(raw, np.uint8, count, offset=4 * count).reshape(height, width)
    return levels.astype(np.float32) * np.float32(header["metres_per_level"]), sigma.astype(np.float32), provenance
