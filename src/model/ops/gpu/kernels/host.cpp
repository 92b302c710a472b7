// The kernels for a C++ compiler: for tests on machines without an accelerator. Threads run one after the other; the 32
// lanes of a warp are fibers that meet where they exchange numbers.
#ifdef __APPLE__
#define _XOPEN_SOURCE 700 // else it has no fibers
#endif
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ucontext.h>
#include <utility>

typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
struct uint4 {
    u32 x, y, z, w;
};

static float of_bits(u32 bits) { float x; std::memcpy(&x, &bits, 4); return x; }
static u32 bits_of(float x) { u32 bits; std::memcpy(&bits, &x, 4); return bits; }

// Rounded to nearest, ties to even, as the devices round.
struct bf16 {
    uint16_t bits;
    explicit bf16(float x) {
        const u32 b = bits_of(x);
        bits = x != x ? 0x7fc0 : (b + 0x7fff + (b >> 16 & 1)) >> 16;
    }
    explicit operator float() const { return of_bits(u32(bits) << 16); }
};
typedef _Float16 f16;
using std::max;
using std::min;

static u32 at;
static const int LANES = 32;
static ucontext_t lanes[LANES], dispatcher;
alignas(64) static char stacks[LANES][64 * 1024];
static float slots[LANES];
static int lane_of;

static void wait_for_the_others() {
    const int me = lane_of;
    const u32 mine = at;
    lane_of = (me + 1) % LANES;
    swapcontext(&lanes[me], &lanes[lane_of]);
    lane_of = me;
    at = mine;
}

// As a butterfly of exchanges adds them up.
template <typename F> static float reduced(float x, F f) {
    slots[lane_of] = x;
    wait_for_the_others();
    float all[LANES];
    std::copy(slots, slots + LANES, all);
    for (int d = LANES / 2; d; d /= 2)
        for (int i = 0; i < d; i++) all[i] = f(all[i], all[i + d]);
    wait_for_the_others();
    return all[0];
}

#define INSIDE static inline
#define GLOBAL
#define THREAD
#define DATA(type, x, i) type *x
#define VALUE(type, x, i) const type x
#define EXP(x) std::exp(x)
#define RSQRT(x) (1.0f / std::sqrt(x))
#define INFINITE HUGE_VALF
#define NOT_A_NUMBER of_bits(0x7fc00000)
#define BITS(x) bits_of(x)
#define LANES_SUM(x) reduced(x, [](float a, float b) { return a + b; })
#define LANES_MAX(x) reduced(x, [](float a, float b) { return std::fmax(a, b); })
#define LANES_MIN(x) reduced(x, [](float a, float b) { return std::fmin(a, b); })

template <typename... A, size_t... I> static void call(void (*f)(A...), void **args, std::index_sequence<I...>) {
    f(*(std::remove_const_t<A> *)args[I]...);
}
template <typename... A> static void call_any(void (*f)(A...), void **args) {
    call(f, args, std::index_sequence_for<A...>{});
}
template <typename... A> static void run_threads(void (*f)(A...), u32 threads, void **args) {
    for (u32 i = 0; i < threads; i++) {
        at = i;
        call_any(f, args);
    }
}

static void (*warp_kernel)(void **);
static void **warp_args;
static u32 warp_first;
static void lane_main(int lane) {
    lane_of = lane;
    at = warp_first + lane;
    warp_kernel(warp_args);
    // the last lane ends the warp: all of them have met for the last time
    if (lane + 1 == LANES) setcontext(&dispatcher);
    lane_of = lane + 1;
    setcontext(&lanes[lane + 1]);
}
static void run_warps(void (*kernel)(void **), u32 threads, void **args) {
    warp_kernel = kernel, warp_args = args;
    for (warp_first = 0; warp_first < threads; warp_first += LANES) {
        for (int lane = 0; lane < LANES; lane++) {
            getcontext(&lanes[lane]);
            lanes[lane].uc_stack.ss_sp = stacks[lane];
            lanes[lane].uc_stack.ss_size = sizeof stacks[lane];
            lanes[lane].uc_link = nullptr;
            makecontext(&lanes[lane], (void (*)())lane_main, 1, lane);
        }
        swapcontext(&dispatcher, &lanes[0]);
    }
}

// `name(threads, args)`, as CUDA's own call of a kernel takes its arguments: the address of each.
#define KERNEL(name, ...)                                                                     \
    static void name##_of(__VA_ARGS__);                                                       \
    extern "C" void name(u32 threads, void **args) { run_threads(name##_of, threads, args); } \
    static void name##_of(__VA_ARGS__)
#define ROWS(name, ...)                                                                       \
    static void name##_of(__VA_ARGS__);                                                       \
    static void name##_lane(void **args) { call_any(name##_of, args); }                       \
    extern "C" void name(u32 threads, void **args) { run_warps(name##_lane, threads, args); } \
    static void name##_of(__VA_ARGS__)
#include "kernels.h"
