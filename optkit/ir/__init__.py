"""OpenVINO IRs as optkit sees them: linear layers and their constants, and the tags that say how sparse each one is."""
