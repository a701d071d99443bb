"""Try each `ShadowExperiment`'s new version beside the old one, and promote it or roll it back."""
