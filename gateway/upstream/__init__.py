"""Pools of endpoints: balancing, health, attempts and retries."""
