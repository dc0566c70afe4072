"""Finding, comparing and showing runs. Imports no torch, Lightning or Hydra: what a run is stands in its directory."""
