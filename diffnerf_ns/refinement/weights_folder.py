"""Where the diffusion model's weights lie, and what names their content. Local folders need no diffusion library."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from diffnerf_ns.refinement.interface import RefinerNotFoundError

SHIPPED = "shipped"
INDEX_FILE = "model_index.json"
CONTENT_SUFFIXES = (".json", ".safetensors")
"""Files that results depend on; a model card may change."""


def names_weights(model: str) -> bool:
    """True for `shipped`, for paths and hub ids, and for folders here that hold weights."""
    return model == SHIPPED or "/" in model or (Path(model) / INDEX_FILE).is_file()


def weights_folder(model: str) -> Path:
    """The local folder of these weights; a hub id is downloaded, or found where it was downloaded to before.

    Args:
        model: "shipped", a folder, or a hub id.
    """
    if model == SHIPPED:
        folder = Path(str(files("diffnerf_ns.refinement") / "weights"))
        if not (folder / INDEX_FILE).is_file():
            raise RefinerNotFoundError(
                "refiner model 'shipped': this version of diffnerf_ns comes without weights: give hole-filter, or a "
                "folder with weights"
            )
        return folder
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / INDEX_FILE).is_file():
            raise RefinerNotFoundError(f"refiner model {model!r} holds no {INDEX_FILE}: give the folder that has it")
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise RefinerNotFoundError(f"refiner model {model!r}: there is no such folder")
    return _downloaded(model)


def content_of(folder: Path) -> str:
    """SHA-256 of everything in a weights folder that results depend on."""
    digest = sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in CONTENT_SUFFIXES and file.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _downloaded(hub_id: str) -> Path:
    from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline

    try:
        return Path(str(DepthRefinementPipeline.download(hub_id, use_safetensors=True)))
    except (OSError, ValueError) as error:
        raise RefinerNotFoundError(
            f"refiner model {hub_id!r} is no folder here and could not be fetched from the hub ({error}): check the "
            "name and the connection, or give a folder"
        ) from error
