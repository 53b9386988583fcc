"""Shared by all tests: strict jax, no accelerators, no stray network."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clawjax")
    group.addoption("--sglang-url", help="test this server's conformance instead of our own")
    group.addoption("--sglang-api-key", help="its bearer key")
