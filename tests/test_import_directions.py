"""The table "Who may import whom" of docs/architecture.md, enforced by reading the imports of every file."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = "diffnerf_ns"

EVERYTHING = ("",)
PURE = (
    "diffnerf_ns.cpu_features",
    "diffnerf_ns.depth_units",
    "diffnerf_ns.depth_normals",
    "diffnerf_ns.even_spread",
    "diffnerf_ns.open3d_library",
    "diffnerf_ns.origin",
    "diffnerf_ns.out_of_memory",
    "diffnerf_ns.peak_memory",
    "diffnerf_ns.rays_per_batch",
    *(
        f"diffnerf_ns.evaluation.{name}"
        for name in ("depth_metrics", "depth_image_metrics", "edges_on_image", "uncertainty_metrics")
    ),
    "diffnerf_ns.captures.sensor_noise",
    "diffnerf_ns.captures.synthetic_room",
)
REFINEMENT = "diffnerf_ns.refinement"
CAPTURES = "diffnerf_ns.captures"
FIELD = "diffnerf_ns.field"


@dataclass(frozen=True)
class Room:
    """Modules under `prefix`, unless a longer prefix claims them; which modules of ours and libraries they may use."""

    prefix: str
    of_project: tuple[str, ...]
    libraries: tuple[str, ...]
    never_of_project: tuple[str, ...] = ()


ARRAYS = ("torch", "numpy")
IMAGES = ("cv2", "PIL")
TRAINERS = ("accelerate", "diffusers", "h5py", "rich", "scipy", "torchvision")
FRAMES = "diffnerf_ns.dataparser_frames"
RGBD = "diffnerf_ns.rgbd_dataset"
SAMPLES = "diffnerf_ns.depth_samples"
PIXELS = "diffnerf_ns.rgbd_pixel_sampler"
PARSER = f"{CAPTURES}.dataparser"
STAGE = f"{REFINEMENT}.stage"
FRAME_FILES = f"{REFINEMENT}.frame_files"
TRAINING = f"{REFINEMENT}.training"
BASELINES = "diffnerf_ns.evaluation.depth_baselines"
REPORT = "diffnerf_ns.evaluation.refinement_report"
FUSED_SURFACE = "diffnerf_ns.evaluation.fused_surface"
PICTURES = "diffnerf_ns.depth_pictures"
CORRECTIONS = "diffnerf_ns.depth_corrections"
PACKED = "diffnerf_ns.packed_images"
DATA = (PARSER, f"{CAPTURES}.dataparser_spec", RGBD, SAMPLES, PIXELS, PICTURES, PACKED)

ROOMS = (
    # level 0: pure
    *(
        Room(prefix, PURE, ARRAYS)
        for prefix in (
            *PURE,
            *(f"{FIELD}.{name}" for name in ("depth_losses", "free_space", "surface_losses")),
        )
    ),
    Room(f"{REFINEMENT}.normalizer", (*PURE, f"{REFINEMENT}.fill_missing_numba"), ARRAYS),
    # level 1: files
    Room(CAPTURES, (*PURE, CAPTURES), (*ARRAYS, *IMAGES), never_of_project=(PARSER,)),
    Room(f"{REFINEMENT}.cache", (*PURE, CAPTURES, f"{REFINEMENT}.interface"), ARRAYS, never_of_project=(PARSER,)),
    # level 2: refiners
    Room(REFINEMENT, (*PURE, REFINEMENT), (*ARRAYS, *IMAGES, "diffusers"), never_of_project=(STAGE,)),
    Room(f"{REFINEMENT}.view_votes_numba", (*PURE, f"{REFINEMENT}.view_tolerance"), ("numpy", "numba")),
    *(Room(f"{REFINEMENT}.{name}_numba", (), ("numpy", "numba")) for name in ("colour_guidance", "fill_missing")),
    Room(f"{REFINEMENT}.tsdf_open3d", (*PURE, f"{REFINEMENT}.tsdf"), ("torch", "open3d")),
    Room(TRAINING, (*PURE, CAPTURES, REFINEMENT), (*ARRAYS, *TRAINERS), never_of_project=(STAGE, PARSER)),
    # level 3: stage
    Room(FRAME_FILES, (*PURE, CAPTURES, f"{REFINEMENT}.interface"), (*ARRAYS, *IMAGES), never_of_project=(PARSER,)),
    Room(STAGE, (*PURE, CAPTURES, REFINEMENT), (*ARRAYS, *IMAGES, "rich"), never_of_project=(PARSER,)),
    Room(f"{REFINEMENT}.team", (), ("torch",)),
    Room(f"{REFINEMENT}.refined_capture", (*PURE, CAPTURES, REFINEMENT), (*ARRAYS, "rich"), never_of_project=(PARSER,)),
    # beside the flow: what judges stage 1
    Room(BASELINES, PURE, (*ARRAYS, "cv2")),
    Room(REPORT, (*PURE, CAPTURES, REFINEMENT, BASELINES, REPORT), (*ARRAYS, "matplotlib", "rich", "tyro"), (PARSER,)),
    Room(f"{REPORT}.tsdf_rival", (*PURE, f"{REFINEMENT}.interface", FUSED_SURFACE), (*ARRAYS, "open3d")),
    *(Room(prefix, (), ("numpy", "open3d")) for prefix in (FUSED_SURFACE, "diffnerf_ns.evaluation.mesh_scores")),
    # level 4: data
    *(Room(prefix, (*PURE, CAPTURES, *DATA), (*ARRAYS, *IMAGES, "nerfstudio", "rich")) for prefix in DATA),
    Room(FRAMES, (*PURE, CAPTURES, FRAME_FILES, *DATA), ("numpy", "nerfstudio")),
    Room(CORRECTIONS, PURE, ("numpy", "cv2")),
    Room("diffnerf_ns.refined_datamanager", (*PURE, CAPTURES, REFINEMENT, *DATA, FRAMES, CORRECTIONS), EVERYTHING),
    # level 4: model
    Room(FIELD, (*PURE, FIELD), EVERYTHING),
    # level 5: wiring
    Room("diffnerf_ns", of_project=(), libraries=()),
    Room("diffnerf_ns.checked_trainer", (*PURE, CAPTURES), ("nerfstudio", "torch")),
    Room("diffnerf_ns.method_configs", EVERYTHING, EVERYTHING),
    Room("diffnerf_ns.cli", EVERYTHING, EVERYTHING),
    Room(f"{REFINEMENT}.refine_by_rank", EVERYTHING, EVERYTHING),
    Room("scripts", EVERYTHING, EVERYTHING),
)
"""Every module stands in exactly one room: the one with the longest matching prefix."""


def modules_of_project() -> dict[str, Path]:
    modules = {}
    for folder, prefix in (
        ("diffnerf_ns", PACKAGE),
        ("method_configs", f"{PACKAGE}.method_configs"),
        ("scripts", "scripts"),
    ):
        for file in sorted((PROJECT / folder).rglob("*.py")):
            parts = file.relative_to(PROJECT / folder).with_suffix("").parts
            modules[".".join((prefix, *parts)).removesuffix(".__init__")] = file
    return modules


def is_under(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(prefix == "" or module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def room_of(module: str) -> Room:
    return max((room for room in ROOMS if is_under(module, (room.prefix,))), key=lambda room: len(room.prefix))


def imported_modules(module: str, source: str, known: set[str]) -> set[str]:
    """What the source imports, wherever in it. `from a import b` counts as a.b if that is a module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return found


def violations(module: str, source: str, known: set[str]) -> list[str]:
    room = room_of(module)
    found = []
    for imported in sorted(imported_modules(module, source, known)):
        library = imported.partition(".")[0]
        if library in sys.stdlib_module_names or library == "typing_extensions":
            continue
        if library in (PACKAGE, "scripts"):
            allowed = is_under(imported, room.of_project) and not is_under(imported, room.never_of_project)
        else:
            allowed = is_under(library, room.libraries)
        if not allowed and imported not in (PACKAGE, module):
            found.append(f"{module} imports {imported}")
    return found


MODULES = modules_of_project()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_the_direction_of_the_architecture(module: str) -> None:
    assert violations(module, MODULES[module].read_text(), set(MODULES)) == [], "see the table in docs/architecture.md"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffnerf_ns.depth_units", "import cv2"),
        ("diffnerf_ns.depth_units", "from diffnerf_ns.field import hash_grid"),
        ("diffnerf_ns.refinement.hole_filter", "def late():\n    import nerfstudio"),
        ("diffnerf_ns.refinement.stage", "from nerfstudio.data.datasets.base_dataset import InputDataset"),
        ("diffnerf_ns.field.diffnerf_model", "from diffnerf_ns.refinement.stage import refine_frames"),
        ("diffnerf_ns.field.diffnerf_model", "from diffnerf_ns import rgbd_dataset"),
        ("diffnerf_ns.rgbd_dataset", "from diffnerf_ns.refinement import stage"),
        ("diffnerf_ns.rgbd_dataset", "from .refinement.stage import refine_frames"),
        ("diffnerf_ns.captures.capture_files", "from diffnerf_ns.captures.dataparser import DiffnerfDataParser"),
    ],
)
def test_a_forbidden_import_is_noticed(module: str, source: str) -> None:
    assert violations(module, source, set(MODULES)) != []
