// The kernels for CUDA.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef __nv_bfloat16 bf16;
typedef __half f16;

#define INSIDE static __device__ __forceinline__
#define GLOBAL
#define THREAD
#define DATA(type, x, i) type *x
#define VALUE(type, x, i) const type x
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
#define ROWS KERNEL
#define at (blockIdx.x * blockDim.x + threadIdx.x)
#define EXP(x) __expf(x)
#define RSQRT(x) rsqrtf(x)
#define INFINITE __int_as_float(0x7f800000)
#define NOT_A_NUMBER __int_as_float(0x7fc00000)
#define BITS(x) __float_as_uint(x)

INSIDE float lanes_sum(float x) {
    for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(~0u, x, d);
    return x;
}
INSIDE float lanes_max(float x) {
    for (int d = 16; d; d >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, d));
    return x;
}
INSIDE float lanes_min(float x) {
    for (int d = 16; d; d >>= 1) x = fminf(x, __shfl_xor_sync(~0u, x, d));
    return x;
}
#define LANES_SUM(x) lanes_sum(x)
#define LANES_MAX(x) lanes_max(x)
#define LANES_MIN(x) lanes_min(x)

#include "kernels.h"
