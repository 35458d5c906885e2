"""The protocols of published data sets, as functions of arrays: which hands count, and what is measured on them."""
