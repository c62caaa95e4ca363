"""What an image is: reference, runtime config, manifest, layouts, the store. Knows no network."""
