"""The fault campaign: seeded random fault scripts, each proven to have lost nothing."""
