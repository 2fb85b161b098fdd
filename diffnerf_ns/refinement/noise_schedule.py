"""How much noise each diffusion step has, for the network, its training and the pipeline."""

from __future__ import annotations

from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from diffnerf_ns.refinement.normalizer import ResidualCode


def default_scheduler(code: ResidualCode | None = None) -> DDIMScheduler:
    """DDIM on a cosine schedule that ends in pure noise.

    Args:
        code: how depth is coded; predictions are clipped to what it can say.
    """
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=True,
        clip_sample_range=(code or ResidualCode()).limit,
    )
