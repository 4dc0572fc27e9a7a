"""The guard: a proxy before the development server's HTTP ports, because some requests crash the wheel's release.

It answers invalid requests with a 4xx that says why, and forwards the others (docs/serving.md): bodies unchanged, over
persistent connections to sockets that no one else can reach. It runs in the process of the command `tritonserver`
(`trainserve.serving.devserver.launch`), in the runtime's own environment, which has only the standard library,
httptools and uvloop. Clusters have no guard: NVIDIA's current image checks requests itself.
"""
