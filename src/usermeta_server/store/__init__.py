"""Where users are kept: the contract in `base`, the one writer in `writer`, the engines beside them."""
