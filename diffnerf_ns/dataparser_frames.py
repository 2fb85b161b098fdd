"""What any dataparser found, as stage 1 takes it, and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from diffnerf_ns.captures.capture_errors import CaptureError
from diffnerf_ns.captures.dataparser import CAPTURE_POSES
from diffnerf_ns.captures.depth_checks import RgbdFiles, check_frame_files
from diffnerf_ns.captures.lens import Lens
from diffnerf_ns.depth_units import metres_per_unit_of
from diffnerf_ns.refinement.frame_files import StageFrame
from diffnerf_ns.rgbd_dataset import no_depth_found


def stage_frames(outputs: DataparserOutputs) -> list[StageFrame]:
    """A dataparser's frames as stage 1 takes them: poses in metres, and exactly the capture's where it tells them."""
    unit = metres_per_unit_of(outputs.metadata)
    cameras = outputs.cameras
    intrinsics = cameras.get_intrinsics_matrices().double().numpy()
    poses = outputs.metadata.get(CAPTURE_POSES)
    if poses is None:
        poses = np.tile(np.eye(4), (len(cameras), 1, 1))
        poses[:, :3] = cameras.camera_to_worlds.double().numpy()
        poses[:, :3, 3] /= outputs.dataparser_scale
    frames = []
    for index, (files, image) in enumerate(zip(_rgbd_files(outputs), outputs.image_filenames, strict=True)):
        frames.append(
            StageFrame(
                name=str(image),
                image_file=image,
                depth_file=files.depth_file,
                metres_per_unit=unit,
                width=files.width,
                height=files.height,
                intrinsics=intrinsics[index],
                camera_to_world=poses[index],
                lens=_lens(cameras, index),
            )
        )
    return frames


def _lens(cameras: Cameras, index: int) -> Lens:
    fisheye = int(cameras.camera_type[index]) == CameraType.FISHEYE.value
    if cameras.distortion_params is None:
        return Lens(is_fisheye=fisheye)
    k1, k2, k3, k4, p1, p2 = cameras.distortion_params[index].double().tolist()
    return Lens((k1, k2, k3, k4), (p1, p2), fisheye)


def check_dataparser_outputs(splits: list[DataparserOutputs]) -> None:
    """Raises CaptureError for files that cannot be trained on, whichever dataparser found them."""
    if not splits:
        return
    frames = []
    for outputs in splits:
        for file in outputs.metadata.get("depth_truth_filenames") or ():
            if file is not None and not Path(file).is_file():
                raise CaptureError(
                    file, "reference depth", "there is no such file", "Restore it, or name another reference folder."
                )
        if not outputs.metadata.get("depth_filenames"):
            raise no_depth_found(outputs)
        frames += _rgbd_files(outputs)
    check_frame_files(frames, metres_per_unit_of(splits[0].metadata))


def _rgbd_files(outputs: DataparserOutputs) -> list[RgbdFiles]:
    widths, heights = outputs.cameras.width.flatten().tolist(), outputs.cameras.height.flatten().tolist()
    return [
        RgbdFiles(Path(image), Path(depth), int(width), int(height))
        for image, depth, width, height in zip(
            outputs.image_filenames, outputs.metadata["depth_filenames"], widths, heights, strict=True
        )
    ]
