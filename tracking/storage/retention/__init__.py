"""Retention: old orders' logs are archived and removed, checkpoints stay; finished jobs are removed."""
