"""Where the two stages meet: the training split's depth is refined once, then sampled pixel by pixel with its sigma."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.model_components.ray_generators import RayGenerator
from nerfstudio.utils import comms
from nerfstudio.utils.rich_utils import CONSOLE
from rich.console import Console

from diffnerf_ns.captures.dataparser import DiffnerfDataParserConfig
from diffnerf_ns.dataparser_frames import check_dataparser_outputs, stage_frames
from diffnerf_ns.depth_corrections import in_line_with_refined, with_large_corrections
from diffnerf_ns.depth_pictures import show_depth_at_start
from diffnerf_ns.packed_images import PackedImageLoader
from diffnerf_ns.refinement.cache import cache_in
from diffnerf_ns.refinement.frame_files import sensor_depth_z_m
from diffnerf_ns.refinement.interface import Provenance
from diffnerf_ns.refinement.refiner_config import RefinerConfig
from diffnerf_ns.refinement.stage import load_refiner, refine_frames
from diffnerf_ns.refinement.team import team_that_waits
from diffnerf_ns.rgbd_dataset import DepthAndSigma, RGBDDataset
from diffnerf_ns.rgbd_pixel_sampler import RGBDPixelSampler, RGBDPixelSamplerConfig

NO_REFINER = "none"


@dataclass
class RefinedDepthDataManagerConfig(VanillaDataManagerConfig):
    """A ray-based data manager whose rays know their pixel's refined depth and its uncertainty."""

    _target: type = field(default_factory=lambda: RefinedDepthDataManager)
    """Target class to instantiate."""
    dataparser: AnnotatedDataParserUnion = field(default_factory=DiffnerfDataParserConfig)
    """Specifies the dataparser used to unpack the data; any whose metadata holds `depth_filenames`."""
    pixel_sampler: PixelSamplerConfig = field(default_factory=RGBDPixelSamplerConfig)
    """Specifies the pixel sampler used to sample pixels from images."""
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    """How sensor depth is refined before training."""
    least_correction_sigmas: float = 2.0
    """How far refined depth must be from what the sensor measured at a pixel, in the sensor's standard deviations, for
    rays to follow it there; they do not where it is far less certain than a measurement. inf follows the refiner only
    where nothing was measured, 0 wherever it is certain enough."""
    bias_from_refined: bool = True
    """Whether measurements that rays keep lose what they are off by over whole areas, in the refiner's eyes."""
    normals_from_depth: bool = False
    """Whether training rays know the normals of the surfaces that their depth shows."""
    depth_required: bool = True
    """Whether a capture without any depth is refused; otherwise it is trained on colour alone."""

    def check_capture(self) -> None:
        """Raises CaptureError if the capture cannot be trained on and evaluated. Writes nothing."""
        if self.refiner.model != NO_REFINER:
            load_refiner(self.refiner)
        if self.data is not None:
            self.dataparser.data = Path(self.data)
        dataparser = self.dataparser.setup()
        with CONSOLE.capture():  # nerfstudio tells about each split again when it trains
            splits = [dataparser.get_dataparser_outputs(split=split) for split in ("train", "val")]
            if not self.depth_required:
                splits = [outputs for outputs in splits if outputs.metadata.get("depth_filenames")]
            check_dataparser_outputs(splits)


class RefinedDepthDataManager(VanillaDataManager[RGBDDataset]):
    """Refines the training split at construction, in training only; each ray knows its depth and sigma.

    `ray_bundle.metadata["depth_z"]` and `["depth_sigma"]` are the batch's `depth_image` and `depth_sigma`. Evaluation
    depth is the sensor's in all cases.
    """

    config: RefinedDepthDataManagerConfig

    def create_train_dataset(self) -> RGBDDataset:
        """Reads the training split; in training, checks it and refines its depth."""
        if self.test_mode == "val":
            self.config.check_capture()
        dataset = self._dataset(self.train_dataparser_outputs)
        if self.test_mode == "val" and not dataset.depth_files:
            CONSOLE.print("[yellow]This capture has no depth: training on colour alone.")
        elif self.test_mode == "val" and self.config.refiner.model != NO_REFINER:
            self._refine(dataset)
        dataset.with_normals = self.config.normals_from_depth
        self._place_on_device(dataset)
        return dataset

    def setup_train(self) -> None:
        """Loads the training images; nerfstudio's, but for the way in which they are kept."""
        config = self.config
        images = config.train_num_images_to_sample_from, config.train_num_times_to_repeat_images
        self.train_image_dataloader = self._load_images(self.train_dataset, *images)
        self.iter_train_image_dataloader = iter(self.train_image_dataloader)
        self.train_pixel_sampler = self._get_pixel_sampler(self.train_dataset, config.train_num_rays_per_batch)
        self.train_ray_generator = RayGenerator(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        """Loads the evaluation images likewise."""
        config, dataset = self.config, self.eval_dataset
        images = config.eval_num_images_to_sample_from, config.eval_num_times_to_repeat_images
        self.eval_image_dataloader = self._load_images(dataset, *images)
        self.iter_eval_image_dataloader = iter(self.eval_image_dataloader)
        self.eval_pixel_sampler = self._get_pixel_sampler(dataset, config.eval_num_rays_per_batch)
        self.eval_ray_generator = RayGenerator(dataset.cameras.to(self.device))
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(dataset, device=self.device)
        self.eval_dataloader = RandIndicesEvalDataloader(dataset, device=self.device)

    def _load_images(self, dataset: RGBDDataset, num_images: int, num_repeats: int) -> PackedImageLoader:
        return PackedImageLoader(
            dataset,
            num_images,
            num_repeats,
            self.device,
            self.config.collate_fn,
            exclude_batch_keys_from_device=self.exclude_batch_keys_from_device,
        )

    def create_eval_dataset(self) -> RGBDDataset:
        """Reads the evaluation split, with reference depth where there is any; its depth is never refined."""
        dataset = self._dataset(self.dataparser.get_dataparser_outputs(split=self.test_split), with_depth_truth=True)
        self._place_on_device(dataset)
        return dataset

    def _dataset(self, outputs: DataparserOutputs, with_depth_truth: bool = False) -> RGBDDataset:
        return RGBDDataset(
            outputs, self.config.camera_res_scale_factor, with_depth_truth, depth_required=self.config.depth_required
        )

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """The next batch of training rays, which know their pixels' depth and sigma."""
        ray_bundle, batch = super().next_train(step)
        self.train_image_dataloader.unpack(batch)
        ray_bundle, batch = _with_depth(ray_bundle, batch)
        batch["patch_size"] = self.config.patch_size
        return ray_bundle, batch

    def next_eval(self, step: int) -> tuple[RayBundle, dict]:
        """The next batch of evaluation rays, which know their pixels' sensor depth and sigma."""
        ray_bundle, batch = super().next_eval(step)
        self.eval_image_dataloader.unpack(batch)
        return _with_depth(ray_bundle, batch)

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Shows sensor depth, refined depth and sigma of a few frames as training starts; one process does."""
        shows = self.train_dataset.depth_files and comms.is_main_process()
        return [show_depth_at_start(self.train_dataset)] if shows else []

    def _get_pixel_sampler(self, dataset: RGBDDataset, num_rays_per_batch: int) -> PixelSampler:
        sampler = super()._get_pixel_sampler(dataset, num_rays_per_batch)
        if isinstance(sampler, RGBDPixelSampler):
            sampler.use_patches(self.config.patch_size)
        return sampler

    def _place_on_device(self, dataset: RGBDDataset) -> None:
        if self.config.images_on_gpu:
            kept = [key for key in dataset.exclude_batch_keys_from_device if not key.startswith(("depth_", "normal_"))]
            dataset.exclude_batch_keys_from_device = kept

    def _refine(self, dataset: RGBDDataset) -> None:
        """Fills the cache (one process per machine does; the others wait) and lets the dataset read from it."""
        frames = stage_frames(self.train_dataparser_outputs)
        cache = cache_in(self.config.refiner.cache_dir)
        refiner = load_refiner(self.config.refiner)
        console = CONSOLE if self.local_rank == 0 else Console(quiet=True)
        capture, team = str(Path(self.get_datapath()).resolve()), team_that_waits(self.local_rank)
        keys = refine_frames(frames, refiner, cache, capture, console, team).keys

        def read_refined(index: int) -> DepthAndSigma:
            refined_z_m, sigma_z_m, provenance = cache.load_again(keys[index], frames[index].name)
            sensor_z_m = np.where(provenance == Provenance.REPLACED, np.float32(0), sensor_depth_z_m(frames[index]))
            if self.config.bias_from_refined:
                sensor_z_m = in_line_with_refined(sensor_z_m, refined_z_m)
            return with_large_corrections(sensor_z_m, refined_z_m, sigma_z_m, self.config.least_correction_sigmas)

        dataset.refined_depth = read_refined


def _with_depth(ray_bundle: RayBundle, batch: dict) -> tuple[RayBundle, dict]:
    if "depth_image" not in batch:
        return ray_bundle, batch
    device = ray_bundle.origins.device
    ray_bundle.metadata["depth_z"] = batch["depth_image"].to(device)
    ray_bundle.metadata["depth_sigma"] = batch["depth_sigma"].to(device)
    return ray_bundle, batch
