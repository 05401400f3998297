"""Doctor: report of versions, devices and weights, and of what is missing for each command."""
