import jax.numpy as jnp
import numpy as np

from clawjax.rewards.train_reaction import mean_of


def member(seed: int) -> dict[str, jnp.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"layer.a": (6, 2), "layer.b": (2, 5), "head.weight": (5, 3), "head.bias": (3,)}
    return {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


def test_the_mean_of_members_has_the_mean_of_their_updates_and_heads():
    members = [member(seed) for seed in range(3)]
    mean = mean_of(members)
    updates = [m["layer.a"] @ m["layer.b"] for m in members]
    assert mean["layer.a"].shape == (6, 6)
    np.testing.assert_allclose(mean["layer.a"] @ mean["layer.b"], sum(updates) / 3, rtol=1e-5)
    for name in ("head.weight", "head.bias"):
        np.testing.assert_allclose(mean[name], sum(m[name] for m in members) / 3, rtol=1e-5)
