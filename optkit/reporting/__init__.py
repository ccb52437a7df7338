"""Reports, all from one gathering of facts."""
