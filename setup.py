"""Package metadata. Tool configuration is in pyproject.toml, pins in requirements.lock."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Requirement lines of a file under requirements/."""
    lines = (HERE / "requirements" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


setup(
    name="clawjax",
    version="0.1.0",
    description="Train personal AI agents by talking to them: asynchronous RL on JAX",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["clawjax", "clawjax.*"]),
    package_data={
        "clawjax": ["py.typed"],
        "clawjax.data": ["*.yaml"],
        "clawjax.envs": ["personas/*.yaml"],
        "clawjax.evals": ["data/*", "data/*/*"],
        "clawjax.plan": ["*.json"],
        "clawjax.rewards": ["*.json", "*.npz", "*.safetensors", "*.txt", "data/*"],
    },
    entry_points={"console_scripts": ["clawjax = clawjax.cli:main"]},
    install_requires=requirements("base.in"),
    extras_require={
        "delta": ["backports.zstd>=1"],
        "dev": requirements("dev.in"),
        "fuzz": requirements("fuzz.in"),
        "gaia": ["pyarrow>=18"],
        "postgres": ["psycopg[binary]>=3.2"],
        "ray": ["ray>=2.50"],
        "sweep": requirements("sweep.in"),
        "web": ["playwright>=1.50"],
    },
)
