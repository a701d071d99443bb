"""Admission: holds the rollout of a Deployment under experiment until its trial has decided."""
