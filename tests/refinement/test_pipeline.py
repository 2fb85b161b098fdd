"""The refinement pipeline, on networks of a few channels: what it takes and gives, and that its inversion is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from PIL import Image
from torch import Tensor

from diffnerf_ns.refinement.interface import Provenance
from diffnerf_ns.refinement.noise_schedule import default_scheduler
from diffnerf_ns.refinement.normalizer import ResidualCode, base_depth
from diffnerf_ns.refinement.pipeline import DepthRefinementPipeline
from diffnerf_ns.refinement.uncertainty import Calibration, SigmaModel
from diffnerf_ns.refinement.unet import DepthRefinementUNet

HEIGHT, WIDTH = 61, 83


def tiny_unet(**settings: Any) -> DepthRefinementUNet:
    """Of few channels; its last layer does something, which an untrained one does not."""
    torch.manual_seed(0)
    unet = DepthRefinementUNet(block_out_channels=(8, 8), layers_per_block=1, full_resolution_channels=8, **settings)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    return unet.eval()


class Oracle(DepthRefinementUNet):
    """Knows the code of the truth, and gives the v that leads from any noisy code to it."""

    def set_truth(self, code: Tensor) -> None:
        self.truth = code
        self.alphas = default_scheduler().alphas_cumprod

    def forward(self, noisy_code: Tensor, timestep: Tensor, conditions: Tensor) -> Tensor:
        alpha = self.alphas[int(timestep)].sqrt()
        sigma = (1 - self.alphas[int(timestep)]).sqrt()
        return (alpha * noisy_code - self.truth[..., : noisy_code.shape[-2], : noisy_code.shape[-1]]) / sigma


class PixelByPixel(DepthRefinementUNet):
    """Looks at no neighbours, so tiles cannot change what it says."""

    def forward(self, noisy_code: Tensor, timestep: Tensor, conditions: Tensor) -> Tensor:
        return torch.tanh(noisy_code + conditions.mean(dim=1, keepdim=True))


def oracle_pipeline(truth: Tensor) -> DepthRefinementPipeline:
    oracle = Oracle(block_out_channels=(8, 8), layers_per_block=1, full_resolution_channels=8)
    oracle.set_truth(truth)
    return quiet(DepthRefinementPipeline(oracle, default_scheduler()))


@pytest.fixture
def pipe() -> DepthRefinementPipeline:
    return quiet(DepthRefinementPipeline(tiny_unet(), default_scheduler()))


def quiet(pipe: DepthRefinementPipeline) -> DepthRefinementPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def scene(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, sensor depth with holes, and truth of a slanted wall with a box before it."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(1.5, 3.0, width, dtype=np.float32)[None].repeat(height, axis=0)
    truth[height // 2 :, : width // 3] = 1.2
    sensor = truth * (1 + 0.01 * rng.standard_normal(truth.shape)).astype(np.float32)
    sensor[rng.random(truth.shape) < 0.1] = 0
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return image, sensor, truth


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (8, 8), (3, 5), (64, 80)])
def test_any_size_gives_metres_of_that_size(pipe: DepthRefinementPipeline, size: tuple[int, int]) -> None:
    image, sensor, _ = scene(*size)
    refined = pipe(image, sensor, generator=seeded())
    assert refined.depth_z_m.shape == refined.sigma_z_m.shape == refined.provenance.shape == (1, *size)
    assert refined.depth_z_m.dtype == refined.sigma_z_m.dtype == np.float32
    assert refined.provenance.dtype == np.uint8
    assert np.isfinite(refined.depth_z_m).all()
    assert 0.3 < refined.depth_z_m.min() < refined.depth_z_m.max() < 8
    assert (refined.sigma_z_m > 0).all()


def test_an_image_without_any_depth_is_refined_too(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    refined = pipe(image, np.zeros_like(sensor), generator=seeded())
    assert np.isfinite(refined.depth_z_m).all()
    assert (refined.provenance == Provenance.GENERATED).all()


def test_pil_arrays_and_tensors_are_the_same_image(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    tensor = torch.from_numpy(image).permute(2, 0, 1) / 255
    images = [image, image.astype(np.float32) / 255, Image.fromarray(image), tensor, [image], image[None]]
    depths = [sensor, torch.from_numpy(sensor), [sensor], sensor[None], sensor.astype(np.float64), sensor]
    results = [pipe(i, d, generator=seeded()).depth_z_m for i, d in zip(images, depths, strict=True)]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-5)


def test_nan_infinity_and_negative_depth_are_missing(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    odd = sensor.copy()
    holes = np.flatnonzero(sensor == 0)
    odd.flat[holes[0::3]], odd.flat[holes[1::3]], odd.flat[holes[2::3]] = np.nan, np.inf, -1
    np.testing.assert_array_equal(
        pipe(image, odd, generator=seeded()).depth_z_m, pipe(image, sensor, generator=seeded()).depth_z_m
    )


def test_the_same_seed_gives_the_same_depth_and_another_does_not(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    first, again, other = (pipe(image, sensor, generator=seeded(seed)).depth_z_m for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("scheduler", [DDIMScheduler, DDPMScheduler])
def test_an_image_s_result_does_not_depend_on_the_batch(pipe: DepthRefinementPipeline, scheduler: Any) -> None:
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    (image_a, sensor_a, _), (image_b, sensor_b, _) = scene(seed=1), scene(seed=2)
    together = pipe([image_a, image_b], [sensor_a, sensor_b], generator=[seeded(1), seeded(2)])
    alone = pipe(image_b, sensor_b, generator=seeded(2))
    np.testing.assert_allclose(together.depth_z_m[1], alone.depth_z_m[0], atol=1e-5)
    np.testing.assert_allclose(together.sigma_z_m[1], alone.sigma_z_m[0], atol=1e-5)
    in_ones = pipe([image_a, image_b], [sensor_a, sensor_b], generator=[seeded(1), seeded(2)], batch_size=1)
    np.testing.assert_allclose(in_ones.depth_z_m, together.depth_z_m, atol=1e-5)


@pytest.mark.parametrize(("steps", "seen"), [(1, [4]), (2, [1, 4]), (3, [1, 4, 4])])
def test_members_share_what_is_predicted_from_pure_noise_unless_it_is_the_result(
    pipe: DepthRefinementPipeline, monkeypatch: pytest.MonkeyPatch, steps: int, seen: list[int]
) -> None:
    predict, images, results = pipe.unet.forward, [], []

    def counted(code: torch.Tensor, *rest: Any) -> torch.Tensor:
        images.append(len(code))
        return predict(code, *rest)

    def keep(_pipe: Any, _step: int, _timestep: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        results.append(tensors["code"])
        return {}

    monkeypatch.setattr(pipe.unet, "forward", counted)
    image, sensor, _ = scene()
    options = {"callback_on_step_end": keep, "callback_on_step_end_tensor_inputs": ("code",)}
    pipe(image, sensor, num_inference_steps=steps, ensemble_size=4, generator=seeded(), **options)
    assert images == seen
    members = results[-1]
    assert all((members[one] - members[other]).abs().max() > 1e-3 for one in range(4) for other in range(one))


SCHEDULERS = {
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "dpm-solver": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 50])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_perfect_network_gives_a_perfect_reconstruction(name: str, steps: int) -> None:
    image, sensor, truth = scene(64, 80)
    code = ResidualCode()
    base = base_depth(torch.from_numpy(sensor)[None])
    pipe = oracle_pipeline(code.encode(torch.from_numpy(truth)[None], base)[:, None])
    pipe.scheduler = SCHEDULERS[name].from_config(pipe.scheduler.config)
    refined = pipe(image, sensor, num_inference_steps=steps, generator=seeded())
    np.testing.assert_allclose(refined.depth_z_m[0], truth, atol=1e-3)


def test_a_perfect_network_is_perfect_at_an_odd_size_and_in_a_large_batch_of_members() -> None:
    image, sensor, truth = scene()
    padded = torch.nn.functional.pad(torch.from_numpy(truth)[None, None], (0, 16, 0, 16), mode="replicate")[:, 0]
    base = torch.nn.functional.pad(base_depth(torch.from_numpy(sensor)[None])[None], (0, 16, 0, 16), mode="replicate")
    pipe = oracle_pipeline(ResidualCode().encode(padded, base[0])[:, None])
    refined = pipe(image, sensor, ensemble_size=9, generator=seeded())
    np.testing.assert_allclose(refined.depth_z_m[0], truth, atol=1e-3)


def test_stochastic_members_differ_and_deterministic_ones_differ_by_their_noise(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    code = {}

    def keep(_pipe: Any, step: int, _timestep: Any, tensors: dict) -> dict:
        code[step] = tensors["code"].clone()
        return {}

    options = {"callback_on_step_end": keep, "callback_on_step_end_tensor_inputs": ["code"], "generator": seeded()}
    pipe(image, sensor, ensemble_size=3, num_inference_steps=4, **options)
    assert code[3].shape == (3, 1, 64, 84)
    assert not torch.equal(code[3][0], code[3][1])


def test_one_member_has_the_floor_as_its_sigma(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    pipe.set_calibration(Calibration(*(SigmaModel(1.0, relative, 0.0) for relative in (0.01, 0.5, 0.02, 0.03))))
    refined = pipe(image, sensor, ensemble_size=1, edges_from_colour=False, generator=seeded())
    relative = np.select([refined.provenance == 1, refined.provenance == 2], [0.01, 0.02], 0.03)
    np.testing.assert_allclose(refined.sigma_z_m, relative * refined.depth_z_m, rtol=1e-5)


def test_without_uncertainty_there_is_no_sigma_and_tensors_come_if_asked(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    refined = pipe(image, sensor, generator=seeded(), output_uncertainty=False, output_type="pt")
    assert refined.sigma_z_m is None
    assert isinstance(refined.depth_z_m, Tensor)
    assert isinstance(refined.provenance, Tensor)


def test_what_other_views_saw_is_used_and_named() -> None:
    image, sensor, truth = scene()
    sensor[20:40, 30:60] = 0
    pipe = oracle_pipeline(torch.zeros(1, 1, 64, 84))
    votes = np.full_like(truth, 3)
    refined = pipe(image, sensor, fused_z_m=truth, support=votes, violations=0 * votes, generator=seeded())
    assert (refined.provenance[0][20:40, 30:60] == Provenance.OTHER_VIEWS).all()
    assert (refined.provenance[0][sensor > 0] == Provenance.MEASURED).mean() > 0.9


def test_the_result_lies_between_the_sensor_and_the_other_views_where_both_speak() -> None:
    image, sensor, truth = scene(64, 80)
    fused = np.where(sensor > 0, 0.9 * sensor, truth).astype(np.float32)
    fused[:8] = 0
    base = base_depth(torch.from_numpy(sensor)[None], torch.from_numpy(fused)[None])
    result = np.where(np.arange(80) < 40, 1.3 * truth, 0.95 * truth).astype(np.float32)
    pipe = oracle_pipeline(ResidualCode().encode(torch.from_numpy(result)[None], base)[:, None])
    given = {"fused_z_m": fused, "support": 0 * fused, "violations": 0 * fused}
    between = np.where((sensor > 0) & (fused > 0), np.clip(result, fused, sensor), result)
    found = pipe(image, sensor, **given, generator=seeded())
    np.testing.assert_allclose(found.depth_z_m[0], between, atol=2e-3)
    free = pipe(image, sensor, **given, within_measurements=False, generator=seeded())
    np.testing.assert_allclose(free.depth_z_m[0], result, atol=2e-3)
    alone = pipe(image, sensor, generator=seeded())
    assert np.abs(alone.depth_z_m[0] - sensor)[sensor > 0].max() > 0.1


def test_processing_resolution_is_the_working_size_and_the_result_may_have_the_input_s(
    pipe: DepthRefinementPipeline,
) -> None:
    image, sensor, _ = scene()
    sizes = []

    def note(_pipe: Any, _step: int, _timestep: Any, tensors: dict) -> dict:
        sizes.append(tuple(tensors["depth_z_m"].shape))
        return {}

    options = {"callback_on_step_end": note, "callback_on_step_end_tensor_inputs": ["depth_z_m"]}
    refined = pipe(image, sensor, processing_resolution=40, generator=seeded(), **options)
    assert sizes == [(1, 29, 40)] * 2
    assert refined.depth_z_m.shape == (1, HEIGHT, WIDTH)
    small = pipe(image, sensor, processing_resolution=40, match_input_resolution=False, generator=seeded())
    assert small.depth_z_m.shape == small.sigma_z_m.shape == (1, 29, 40)
    native = pipe(image, sensor, processing_resolution=0, generator=seeded())
    np.testing.assert_array_equal(native.depth_z_m, pipe(image, sensor, generator=seeded()).depth_z_m)


def test_tiles_leave_no_seams() -> None:
    image, sensor, _ = scene(96, 128)
    settings = {"block_out_channels": (8, 8), "layers_per_block": 1, "full_resolution_channels": 8}
    pipe = quiet(DepthRefinementPipeline(PixelByPixel(**settings), default_scheduler()))
    whole = pipe(image, sensor, generator=seeded())
    tiled = pipe(image, sensor, generator=seeded(), tile_size=40, tile_overlap=12)
    np.testing.assert_allclose(tiled.depth_z_m, whole.depth_z_m, atol=1e-4)
    np.testing.assert_allclose(tiled.sigma_z_m, whole.sigma_z_m, atol=1e-4)


def test_the_callback_sees_every_step_and_may_change_the_code(pipe: DepthRefinementPipeline) -> None:
    image, sensor, _ = scene()
    seen = []

    def call_back(given: Any, step: int, _timestep: Any, tensors: dict) -> dict:
        assert given is pipe
        seen.append(step)
        return {"code": torch.zeros_like(tensors["code"])}

    options = {"callback_on_step_end": call_back, "callback_on_step_end_tensor_inputs": ["code"]}
    refined = pipe(image, sensor, num_inference_steps=3, generator=seeded(), **options)
    assert seen == [0, 1, 2]
    base = base_depth(torch.from_numpy(sensor)[None]).numpy()
    np.testing.assert_allclose(refined.depth_z_m, base, rtol=1e-6)


def test_saved_and_loaded_it_gives_identical_results(pipe: DepthRefinementPipeline, tmp_path: Path) -> None:
    image, sensor, _ = scene()
    pipe.set_calibration(Calibration(measured=SigmaModel(2.0, 0.01, 0.001)))
    pipe.save_pretrained(tmp_path / "refiner")
    assert not list((tmp_path / "refiner").rglob("*.bin"))
    loaded = quiet(DepthRefinementPipeline.from_pretrained(str(tmp_path / "refiner")))
    assert loaded.calibration == pipe.calibration
    assert loaded.residual_code == pipe.residual_code
    for name in ("beta_schedule", "prediction_type", "rescale_betas_zero_snr", "timestep_spacing", "clip_sample_range"):
        assert loaded.scheduler.config[name] == pipe.scheduler.config[name]
    before, after = (each(image, sensor, generator=seeded()) for each in (pipe, loaded))
    np.testing.assert_array_equal(before.depth_z_m, after.depth_z_m)
    np.testing.assert_array_equal(before.sigma_z_m, after.sigma_z_m)
    np.testing.assert_array_equal(before.provenance, after.provenance)


def test_another_code_is_kept_with_the_pipeline(tmp_path: Path) -> None:
    code = {"scale": 0.02, "gain": 0.4, "limit": 2.0}
    DepthRefinementPipeline(tiny_unet(), default_scheduler(ResidualCode(**code)), code=code).save_pretrained(tmp_path)
    loaded = DepthRefinementPipeline.from_pretrained(tmp_path)
    assert loaded.residual_code == ResidualCode(**code)
    assert loaded.scheduler.config.clip_sample_range == 2.0


def test_weights_that_are_not_safetensors_are_refused(pipe: DepthRefinementPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(OSError, match=r"diffusion_pytorch_model\.bin: weights are read from safetensors alone"):
        DepthRefinementPipeline.from_pretrained(tmp_path)


def test_bfloat16_gives_about_the_same_depth(pipe: DepthRefinementPipeline, tmp_path: Path) -> None:
    image, sensor, _ = scene()
    pipe.save_pretrained(tmp_path)
    half = quiet(DepthRefinementPipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16))
    assert half.unet.dtype == torch.bfloat16
    exact, rounded = (each(image, sensor, generator=seeded()) for each in (pipe, half))
    assert rounded.depth_z_m.dtype == np.float32
    assert np.median(np.abs(exact.depth_z_m - rounded.depth_z_m)) < 2e-3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_inference_steps": 0}, ValueError, "`num_inference_steps` is 0: give a whole number from 1 to 50"),
        ({"num_inference_steps": 51}, ValueError, "`num_inference_steps` is 51: give a whole number from 1 to 50"),
        ({"num_inference_steps": 2.5}, TypeError, "`num_inference_steps` is 2.5: give a whole number from 1 to 50"),
        ({"ensemble_size": 0}, ValueError, "`ensemble_size` is 0: give a whole number from 1"),
        ({"processing_resolution": -1}, ValueError, "`processing_resolution` is -1: give a whole number from 0"),
        ({"batch_size": 0}, ValueError, "`batch_size` is 0: give a whole number from 1"),
        ({"tile_overlap": 800}, ValueError, "`tile_overlap` is 800: give a whole number from 0 to 640"),
        ({"output_type": "pil"}, ValueError, "`output_type` is 'pil': give 'np' or 'pt'"),
        ({"generator": 7}, TypeError, "`generator` is int: give a torch.Generator, or a list of them"),
        ({"generator": [seeded(), seeded()]}, ValueError, "holds 2 generators for 1 images: give one for each"),
        ({"image": "room.png"}, TypeError, "`image` is str: give a PIL image"),
        ({"image": np.zeros((HEIGHT, WIDTH), np.uint8)}, ValueError, r"`image` is \(61, 83\): give a PIL image"),
        ({"image": np.zeros((HEIGHT, WIDTH, 3), np.int32)}, TypeError, "`image` is int32: give a PIL image"),
        (
            {"depth_z_m": np.ones((HEIGHT, WIDTH), np.uint16)},
            TypeError,
            "`depth_z_m` is uint16, which looks like stored",
        ),
        ({"depth_z_m": None}, TypeError, "`depth_z_m` is NoneType: give an array or tensor of floats"),
        ({"depth_z_m": np.ones((5, 5))}, ValueError, r"`depth_z_m` is \(1, 5, 5\) .* and `image` is \(1, 61, 83\)"),
        ({"support": np.ones((2, HEIGHT, WIDTH))}, ValueError, r"`support` is \(2, 61, 83\)"),
        ({"callback_on_step_end_tensor_inputs": ["v"]}, ValueError, r"holds \['v'\]: give some of \['code'"),
    ],
)
def test_errors_quote_the_argument_and_what_is_accepted(
    pipe: DepthRefinementPipeline, options: dict, error: type[Exception], message: str
) -> None:
    image, sensor, _ = scene()
    with pytest.raises(error, match=message):
        pipe(**{"image": image, "depth_z_m": sensor, **options})


def test_images_of_different_sizes_in_one_call_are_refused(pipe: DepthRefinementPipeline) -> None:
    (image_a, sensor_a, _), (image_b, sensor_b, _) = scene(), scene(40, 40)
    with pytest.raises(ValueError, match="`image` is a list of sizes"):
        pipe([image_a, image_b], [sensor_a, sensor_b])
