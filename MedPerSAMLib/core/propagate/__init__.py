"""From one annotated slice outward: steps, chains, presence, refinement by SAM, confidence and the final clean-up."""
