"""From a bundle's networks to ONNX. Needs the ``train`` extra."""
