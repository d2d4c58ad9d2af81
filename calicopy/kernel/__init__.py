"""The kernel edge: rtnetlink, tunnel device, sysctls, nft. It holds no decisions (see `calicopy.kernel.kernel`)."""
