// The kernels for Metal: kernels.h follows in the same text.
#include <metal_stdlib>
using namespace metal;

typedef ushort u16;
typedef uint u32;
typedef ulong u64;
typedef bfloat bf16;
typedef half f16;

#define INSIDE static inline
#define GLOBAL device
#define THREAD thread
#define DATA(type, x, i) device type *x [[buffer(i)]]
#define VALUE(type, x, i) constant type &x [[buffer(i)]]
#define KERNEL(name, ...) kernel void name(__VA_ARGS__, u32 at [[thread_position_in_grid]])
#define ROWS KERNEL
#define EXP(x) exp(x)
#define RSQRT(x) rsqrt(x)
#define INFINITE INFINITY
#define NOT_A_NUMBER as_type<float>(0x7fc00000u)
#define BITS(x) as_type<u32>(x)
#define LANES_SUM(x) simd_sum(x)
#define LANES_MAX(x) simd_max(x)
#define LANES_MIN(x) simd_min(x)
