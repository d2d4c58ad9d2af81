"""Generated from proto/calicopy/v1 by `make proto`; not edited by hand."""
