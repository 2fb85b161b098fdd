"""Light at surface points: diffuse, highlights that move with the viewer, mirrored surroundings, tone mapping."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffnerf_ns.captures.synthetic_room.lights import AreaLight, Lighting
from diffnerf_ns.captures.synthetic_room.noise_volume import noise
from diffnerf_ns.captures.synthetic_room.shadows import Received, surroundings_towards

BACKDROP_M = 14.0
"""Distance from the middle of the room at which the view from its windows is painted."""


def radiance_at(
    lighting: Lighting,
    points: Tensor,
    normals: Tensor,
    view: Tensor,
    albedo: Tensor,
    specular: Tensor,
    roughness: Tensor,
    emission: Tensor,
    received: Received,
) -> Tensor:
    """Radiance [M, 3] towards the viewer; `view` [M, 3] are the unit directions of the rays that came in."""
    facing = -(normals * view).sum(1).clamp(-1.0, 0.0)
    fresnel = specular + (1.0 - specular) * (1.0 - facing) ** 5 * (1.0 - roughness) ** 2
    mirrored = view + 2.0 * facing[:, None] * normals
    diffuse = received.ambient * math.pi
    gloss = torch.zeros_like(diffuse)
    for index, light in enumerate(lighting.area_lights):
        visible = received.visibility[:, index, None]
        diffuse = diffuse + visible * _irradiance(light, points, normals)
        gloss = gloss + visible * _mirrored_light(light, points, normals, mirrored, roughness)
    if lighting.sun is not None:
        visible = received.visibility[:, -1, None]
        sun = points.new_tensor(lighting.sun.direction)
        irradiance = points.new_tensor(lighting.sun.irradiance)
        diffuse = diffuse + visible * (normals @ sun).clamp_min(0.0)[:, None] * irradiance
        gloss = gloss + visible * _lobe(mirrored @ sun, roughness)[:, None] * irradiance
    faces = points.new_tensor(lighting.face_radiance)
    surroundings = surroundings_towards(mirrored, faces)
    openness = (received.ambient.mean(1) / faces.mean()).clamp(0.0, 1.0)
    gloss = gloss + surroundings * openness[:, None]
    glow = emission * (0.55 + 0.45 * facing)[:, None] / lighting.exposure
    tint = torch.where(specular[:, None] > 0.2, albedo.sqrt(), torch.ones_like(albedo))
    return albedo / math.pi * diffuse * (1.0 - fresnel)[:, None] + fresnel[:, None] * tint * gloss + glow


def outside_radiance(lighting: Lighting, origins: Tensor, directions: Tensor) -> Tensor:
    """What rays [M, 3] that leave through a window see: sky with clouds, a skyline of hills, ground."""
    b = (origins[:, :2] * directions[:, :2]).sum(1)
    a = directions[:, :2].square().sum(1).clamp_min(1e-6)
    c = origins[:, :2].square().sum(1) - BACKDROP_M**2
    t = (-b + (b * b - a * c).clamp_min(0.0).sqrt()) / a
    place = origins + t[:, None] * directions
    around = torch.atan2(place[:, 1], place[:, 0])
    height = (place[:, 2] - 1.2).clamp(-20.0, 20.0)
    flat = torch.stack([around * 0.4, height * 0.02, height * 0.0], 1)
    cloud, _ = noise(flat)
    rise, ragged = noise(torch.stack([around * 0.7, height * 0.0 + 0.3, height * 0.0], 1))
    leaves, leaf = noise(place * 0.11)
    sky = place.new_tensor(lighting.sky)
    blue = sky * place.new_tensor([0.55, 0.78, 1.0])
    upper = (height / 8.0).clamp(0.0, 1.0)[:, None]
    colour = sky * (1.0 - upper) + blue * upper
    colour = colour + 0.25 * sky * (cloud.clamp(0.0, 1.5) * upper[:, 0])[:, None]
    trees = sky * place.new_tensor([0.16, 0.25, 0.10]) * (1.0 + 0.3 * leaves + 0.25 * leaf)[:, None].clamp(0.2, 2.0)
    skyline = ((1.3 + 0.8 * rise + 0.3 * ragged - height) / 0.1 + 0.5).clamp(0.0, 1.0)
    return colour + (trees - colour) * skyline[:, None]


def tone_map(radiance: Tensor, exposure: float) -> Tensor:
    """Display values 0..1 (sRGB) with a soft shoulder, so that highlights and lamps do not clip at once."""
    x = radiance * exposure
    x = x * (1.0 + x / 9.0) / (1.0 + 0.75 * x) * 1.25
    x = x.clamp(0.0, 1.0)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(1e-8) ** (1.0 / 2.4) - 0.055)


def _irradiance(light: AreaLight, points: Tensor, normals: Tensor) -> Tensor:
    """Unshadowed irradiance [M, 3]; large lights are summed over four parts."""
    centre, half_u, half_v = (points.new_tensor(part) for part in (light.centre, light.half_u, light.half_v))
    parts = ((0.0, 0.0),)
    if light.normal is not None:
        parts = ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))
    total = torch.zeros_like(points[:, 0])
    for a, b in parts:
        to_light = centre + a * half_u + b * half_v - points
        squared = to_light.square().sum(1).clamp_min(0.01)
        distance = squared.sqrt()
        cosine = (to_light * normals).sum(1).clamp_min(0.0) / distance
        if light.normal is not None:
            cosine = cosine * (-(to_light @ points.new_tensor(light.normal)) / distance).clamp_min(0.0)
        total = total + cosine / squared
    return (total / len(parts))[:, None] * points.new_tensor(light.intensity)


def _mirrored_light(light: AreaLight, points: Tensor, normals: Tensor, mirrored: Tensor, roughness: Tensor) -> Tensor:
    """Radiance [M, 3] of a light seen in a surface: a blurred lobe for lamps, a blurred rectangle for panes."""
    centre = points.new_tensor(light.centre)
    intensity = points.new_tensor(light.intensity)
    to_light = centre - points
    squared = to_light.square().sum(1).clamp_min(0.01)
    if light.normal is None:
        cosine = (mirrored * to_light).sum(1) / squared.sqrt()
        return (_lobe(cosine, roughness) / squared)[:, None] * intensity
    normal = points.new_tensor(light.normal)
    towards = mirrored @ normal
    t = (to_light @ normal) / torch.where(towards.abs() < 1e-6, -1e-6, towards)
    hit = points + t[:, None] * mirrored - centre
    blur = 2.0 * roughness.square() * t.abs() + 0.01
    coverage = ((towards < 0) & (t > 0)).to(points.dtype)
    for half in (light.half_u, light.half_v):
        side = points.new_tensor(half)
        length = side.norm()
        beyond = (hit @ side / length).abs() - length
        x = (0.5 - beyond / (2.0 * blur)).clamp(0.0, 1.0)
        coverage = coverage * x * x * (3.0 - 2.0 * x) * length / (length + 0.5 * blur)
    area = 4.0 * points.new_tensor(light.half_u).norm() * points.new_tensor(light.half_v).norm()
    return coverage[:, None] * intensity / area


def _lobe(cosine: Tensor, roughness: Tensor) -> Tensor:
    """Phong lobe around the mirrored ray, normalised so that rougher surfaces spread the same light further."""
    exponent = 2.0 / roughness.clamp_min(0.08) ** 3
    return cosine.clamp_min(0.0) ** exponent * (exponent + 2.0) / (2.0 * math.pi)
