"""The comparison of samplers gives both the same number of samples, and nerfstudio's networks learn."""

from __future__ import annotations

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from diffnerf_ns.field.diffnerf_model import DiffnerfModelConfig
from scripts.compare_samplers import ProposalModel


def test_proposal_networks_place_as_many_samples_and_learn_from_the_field() -> None:
    torch.manual_seed(0)
    config = DiffnerfModelConfig(
        _target=ProposalModel, num_levels=4, max_resolution=32, log2_hashmap_size=10, density_grid_resolution=8
    )
    box = SceneBox(aabb=torch.tensor([[-1.0, -1.0, -3.0], [1.0, 1.0, 1.0]]))
    metadata = {"dataparser_scale": 1.0, "camera_to_worlds": torch.eye(4)[None, :3]}
    model = config.setup(scene_box=box, num_train_data=1, metadata=metadata).train()
    norm = torch.ones(6, 1)
    rays = RayBundle(
        origins=torch.zeros(6, 3),
        directions=torch.tensor([[0.0, 0.0, -1.0]]).expand(6, 3),
        pixel_area=norm,
        camera_indices=torch.zeros(6, 1, dtype=torch.long),
        metadata={"directions_norm": norm, "depth_z": 2 * norm, "depth_sigma": 0.02 * norm},
    )
    outputs = model(rays)
    assert outputs["weights"].shape == (6, model.shares.total)
    losses = model.get_loss_dict(outputs, {"image": torch.rand(6, 3)})
    assert {"interlevel_loss", "depth_loss", "rgb_loss"} <= set(losses)
    losses["interlevel_loss"].backward()
    for network in model.proposal_networks:
        assert max(float(p.grad.abs().max()) for p in network.parameters() if p.grad is not None) > 0
    assert all(parameter.grad is None for parameter in model.field.parameters())
    with torch.no_grad():
        assert model.eval()(rays)["rgb"].shape == (6, 3)
