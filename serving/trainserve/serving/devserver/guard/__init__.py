"""The guard: what stands before the development server's HTTP ports, because requests can end the wheel's release
(docs/serving.md says what the guard does about it).

It answers what is the client's fault with a 4xx that says why, and passes the rest on: bodies untouched, over kept
connections to sockets that nobody else reaches. It runs in the process of the command `tritonserver`
(`trainserve.serving.devserver.launch`), in the runtime's own environment: the standard library, httptools and uvloop
are all there is. In clusters there is none: NVIDIA's current image answers for itself.
"""
