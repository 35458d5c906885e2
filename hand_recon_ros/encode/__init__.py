"""From image crops to hand parameters, keypoints and confidences."""
