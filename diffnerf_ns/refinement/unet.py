"""The network of the refiner: a UNet of diffusers' blocks that works on 2x2 pixels and ends at full resolution."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diffnerf_ns.refinement.noise_schedule import default_scheduler
from diffnerf_ns.refinement.normalizer import CANDIDATE_CHANNELS, CONTEXT_CHANNELS

BLOCK = 2
"""Pixels to each side of the blocks that the coarse network works on."""

OWN_GUESS_LOGIT = 4.0
"""How much an untrained network prefers the first guess at the pixel itself to the other candidates."""


class FeatureEnhancement(nn.Module):
    """Refines what a skip connection carries: wider context by dilated convolutions, and channels weighted by need.

    The dilated convolutions are dense and narrow: depthwise ones gave arbitrary gradients in bfloat16 on a CPU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(8, channels // 4)
        self.norm = nn.GroupNorm(8, channels)
        self.reduce = nn.Conv2d(channels, narrow, 1)
        self.context = nn.ModuleList(
            nn.Conv2d(narrow, narrow, 3, padding=dilation, dilation=dilation) for dilation in (1, 2, 4)
        )
        self.mix = nn.Conv2d(3 * narrow, channels, 1)
        self.squeeze = nn.Linear(channels, narrow)
        self.excite = nn.Linear(narrow, channels)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, features: Tensor) -> Tensor:
        normed = self.norm(features)
        reduced = F.silu(self.reduce(normed))
        context = F.silu(torch.cat([layer(reduced) for layer in self.context], dim=1))
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(normed.mean(dim=(2, 3))))))
        return features + gate[:, :, None, None] * self.mix(context)


class DepthRefinementUNet(ModelMixin, ConfigMixin):
    """Predicts v of the depth code from its noisy version and the conditions. Any height and width that are multiples
    of `size_multiple`.

    The clean code is predicted as a mixture of candidates (the first guesses at and around the pixel, the sensor's own
    depth, what is left of the noisy code) and a correction: surfaces can be extended and edges moved by choosing, which
    is learnt much faster than by computing their depth. v follows from it on a cosine schedule of zero terminal SNR.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        context_channels: int = CONTEXT_CHANNELS,
        candidate_channels: int = CANDIDATE_CHANNELS,
        block_out_channels: tuple[int, ...] = (48, 64, 96, 128),
        layers_per_block: int = 2,
        full_resolution_channels: int = 16,
        feature_enhancement: bool = True,
    ) -> None:
        """
        Args:
            context_channels: channels of the conditions that describe a pixel; the first ones.
            candidate_channels: channels of the conditions that hold codes which it may take over; the last ones.
            block_out_channels: width of each resolution, fine to coarse; multiples of 8.
            layers_per_block: residual blocks per resolution on the way down, and on the way up.
            full_resolution_channels: width of the last layers, which see every pixel.
            feature_enhancement: whether skip connections are refined.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        embedding = 4 * widths[0]
        self.gradient_checkpointing = False
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], embedding)
        self.conv_in = nn.Conv2d((1 + context_channels) * BLOCK**2, widths[0], 3, padding=1)

        self.down = nn.ModuleList()
        self.downsamplers = nn.ModuleList()
        skip_widths = []
        previous = widths[0]
        for level, width in enumerate(widths):
            self.down.append(_resnets([previous] + [width] * (layers_per_block - 1), width, embedding))
            skip_widths.append(width)
            previous = width
            if level < len(widths) - 1:
                self.downsamplers.append(Downsample2D(width, use_conv=True, name="op"))
        self.enhance = nn.ModuleList(
            FeatureEnhancement(width) if feature_enhancement else nn.Identity() for width in skip_widths[:-1]
        )
        self.mid_attention = Attention(
            widths[-1],
            heads=max(1, widths[-1] // 32),
            dim_head=min(32, widths[-1]),
            norm_num_groups=8,
            residual_connection=True,
            bias=True,
        )
        self.mid = _resnets([widths[-1]], widths[-1], embedding)

        self.upsamplers = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            width = widths[level]
            self.upsamplers.append(Upsample2D(widths[level + 1], use_conv=True, out_channels=width))
            self.up.append(_resnets([2 * width] + [width] * (layers_per_block - 1), width, embedding))

        self.norm_out = nn.GroupNorm(8, widths[0])
        self.to_pixels = nn.Conv2d(widths[0], full_resolution_channels * BLOCK**2, 3, padding=1)
        self.pixel_in = nn.Conv2d(1 + context_channels, full_resolution_channels, 3, padding=1)
        self.pixel_mix = nn.Conv2d(2 * full_resolution_channels, full_resolution_channels, 3, padding=1)
        self.conv_out = nn.Conv2d(full_resolution_channels, candidate_channels + 2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        with torch.no_grad():
            bias = cast(Tensor, self.conv_out.bias).zero_()
            bias[1] = OWN_GUESS_LOGIT
        self.signal_power = default_scheduler().alphas_cumprod.clone()
        """Share of the signal's power at each step; no buffer, since 16 bits are too coarse for it."""

    @property
    def size_multiple(self) -> int:
        """Heights and widths must be multiples of this many pixels."""
        return BLOCK * 2 ** len(self.downsamplers)

    def forward(self, noisy_code: Tensor, timestep: Tensor, conditions: Tensor) -> Tensor:
        """The predicted v, float32.

        Args:
            noisy_code: depth code with noise [N, 1, H, W].
            timestep: diffusion step [N], or a scalar for all.
            conditions: from `condition_channels`, [N, C, H, W].
        """
        multiple = self.size_multiple
        if noisy_code.shape[-2] % multiple or noisy_code.shape[-1] % multiple:
            raise ValueError(
                f"noisy_code is {tuple(noisy_code.shape)}: pad height and width to multiples of {multiple}"
            )
        embedding = self.time_embedding(self.time_proj(timestep.expand(len(noisy_code))).to(noisy_code.dtype))
        context = conditions[:, : self.config["context_channels"]]
        candidates = conditions[:, self.config["context_channels"] :]
        pixels = torch.cat([noisy_code, context], dim=1)
        features = self.conv_in(F.pixel_unshuffle(pixels, BLOCK))
        skips = []
        for level, blocks in enumerate(self.down):
            features = self._run(blocks, features, embedding)
            if level < len(self.downsamplers):
                skips.append(self.enhance[level](features))
                features = self.downsamplers[level](features)
        features = self._run(self.mid, self.mid_attention(features), embedding)
        for upsampler, blocks in zip(self.upsamplers, self.up, strict=True):
            features = torch.cat([upsampler(features), skips.pop()], dim=1)
            features = self._run(blocks, features, embedding)
        coarse = F.pixel_shuffle(self.to_pixels(F.silu(self.norm_out(features))), BLOCK)
        fine = F.silu(torch.cat([coarse, self.pixel_in(pixels)], dim=1))
        mixing = self.conv_out(F.silu(self.pixel_mix(fine)))
        return self._velocity(noisy_code.float(), timestep, candidates.float(), mixing.float())

    def _velocity(self, noisy_code: Tensor, timestep: Tensor, candidates: Tensor, mixing: Tensor) -> Tensor:
        """v of a clean code that is a mixture of candidates, of what the noise leaves, and a correction."""
        step = timestep.expand(len(noisy_code)).round().long().clamp(0, len(self.signal_power) - 1)
        if self.signal_power.device != step.device:
            self.signal_power = self.signal_power.to(step.device)
        power = self.signal_power[step][:, None, None, None]
        signal, noise = power.sqrt(), (1.0 - power).clamp(min=1e-4).sqrt()
        correction, logits = mixing[:, :1], mixing[:, 1:]
        choices = torch.cat([candidates, signal * noisy_code], dim=1)
        clean = (logits.softmax(dim=1) * choices).sum(dim=1, keepdim=True) + correction
        return (signal * noisy_code - clean) / noise

    def _run(self, blocks: Any, features: Tensor, embedding: Tensor) -> Tensor:
        for block in blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                features = cast(Tensor, checkpoint(block, features, embedding, use_reentrant=False))
            else:
                features = block(features, embedding)
        return features


def _resnets(widths_in: list[int], width: int, embedding: int) -> nn.ModuleList:
    return nn.ModuleList(
        ResnetBlock2D(in_channels=width_in, out_channels=width, temb_channels=embedding, groups=8)
        for width_in in widths_in
    )
