"""What components do: lenses, direct attribution, concentration, attention roles, neurons."""
