"""What an image or a file is: image and module together, and `validate`'s verdict."""
