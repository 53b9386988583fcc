"""Rollouts on servers that speak SGLang's HTTP API."""
