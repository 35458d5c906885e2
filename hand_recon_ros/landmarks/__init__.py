"""The landmark network: one crop in, 21 keypoints, metric landmarks and presence out."""
