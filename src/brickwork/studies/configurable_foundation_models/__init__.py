"""The study of configurable foundation models: operations on bricks, and the bricks that emerged in a language model."""
