// CUDA C on a CPU: enough of the language that a kernel builds with g++ and runs there, bit for bit.
//
// A thread of a block is a fiber. It runs until it waits (at a barrier or a shuffle) or returns, and
// a scheduler then picks the next one; what waits is let go when all whom CUDA demands are there. If
// they can never be, the launch ends with a sentence that says who waits where. Two things make a
// wrong kernel fail where a lucky interleaving on a GPU would hide it: shared memory is filled with
// NaN before each block, and the order in which threads run is the caller's choice.
//
// Blocks run one after another, so atomics need no locks here, and a kernel that makes one block
// wait for another never ends. Build with -ffp-contract=off: the GPU's fused operations are
// explicit. Cited rules are those of the CUDA C++ Programming Guide, "C++ Language Extensions".

#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__ static
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("shared_memory")))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

// The linker gives these names to the ends of the section; without shared variables there is none.
extern "C" char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));

namespace emulation {

constexpr std::size_t stack_bytes = 256 * 1024;

enum class State { ready, barrier, warp, finished };

struct Fiber {
    ucontext_t context;
    uint3 index;
    State state;
    int line;                    // where it waits
    unsigned mask;               // warp only: the lanes that it waits for,
    int source;                  // the lane whose value it wants,
    std::uint64_t value;         // the value that it offers, and later the one that it got
};

static std::vector<Fiber> fibers;
static char* stacks;             // of `stack_count` fibers; kept, and never cleared: it is large
static std::size_t stack_count;
static Fiber* current;
static ucontext_t scheduler;
static void (*kernel_of_type)(void* kernel, void** arguments);
static void* kernel;
static void** arguments;
static std::string message;

static void enter() {
    kernel_of_type(kernel, arguments);
    current->state = State::finished;
    swapcontext(&current->context, &scheduler);
}

static void suspend(State state, int line) {
    Fiber* self = current;
    self->state = state;
    self->line = line;
    swapcontext(&self->context, &scheduler);
}

static void resume(Fiber& fiber) {
    current = &fiber;
    threadIdx = fiber.index;
    swapcontext(&scheduler, &fiber.context);
}

static void start(Fiber& fiber, unsigned number) {
    fiber.index = {number % blockDim.x, number / blockDim.x % blockDim.y,
                   number / (blockDim.x * blockDim.y)};
    fiber.state = State::ready;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = &stacks[number * stack_bytes];
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
}

// --- Waiting -------------------------------------------------------------------------------------

static int lane_of(const Fiber& fiber) { return static_cast<int>((&fiber - fibers.data()) % 32); }

static Fiber* peer(const Fiber& fiber, int lane) {
    std::size_t number = (&fiber - fibers.data()) / 32 * 32 + lane;
    return number < fibers.size() ? &fibers[number] : nullptr;
}

// A barrier opens when every thread of the block waits at the same one.
static bool release_barrier() {
    for (const Fiber& fiber : fibers)
        if (fiber.state != State::barrier || fiber.line != fibers[0].line) return false;
    for (Fiber& fiber : fibers) fiber.state = State::ready;
    return true;
}

// Lanes exchange values when all that their common mask names wait in the same place.
static bool complete(const Fiber& fiber) {
    if (fiber.state != State::warp || !(fiber.mask >> lane_of(fiber) & 1)) return false;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(fiber.mask >> lane & 1)) continue;
        const Fiber* other = peer(fiber, lane);
        if (!other || other->state != State::warp || other->line != fiber.line ||
            other->mask != fiber.mask)
            return false;
    }
    return true;
}

static void exchange(const Fiber& first) {
    std::uint64_t offered[32] = {};
    for (int lane = 0; lane < 32; ++lane)
        if (first.mask >> lane & 1) offered[lane] = peer(first, lane)->value;
    for (int lane = 0; lane < 32; ++lane) {
        if (!(first.mask >> lane & 1)) continue;
        Fiber* fiber = peer(first, lane);
        fiber->state = State::ready;
        bool defined = first.mask >> fiber->source & 1;  // else the guide leaves it undefined:
        fiber->value = defined ? offered[fiber->source] : ~std::uint64_t(0);  // NaN
    }
}

static bool release_warps() {
    bool any = false;
    for (Fiber& fiber : fibers)
        if (complete(fiber)) {
            exchange(fiber);
            any = true;
        }
    return any;
}

static std::string describe(const Fiber& fiber) {
    static const char* const what[] = {"runs", "waits at the barrier of line ",
                                       "waits for its warp in line ", "has returned"};
    bool waits = fiber.state == State::barrier || fiber.state == State::warp;
    return "thread " + std::to_string(&fiber - fibers.data()) + " " +
           what[static_cast<int>(fiber.state)] + (waits ? std::to_string(fiber.line) : "");
}

static void report_deadlock() {
    const Fiber* first = &*std::find_if(fibers.begin(), fibers.end(), [](const Fiber& fiber) {
        return fiber.state != State::finished;
    });
    message = "block " + std::to_string(blockIdx.x) + " is stuck: " + describe(*first);
    for (const Fiber& other : fibers)
        if (other.state != first->state || other.line != first->line) {
            message += ", " + describe(other);
            return;
        }
    message += ", and its mask names lanes that are not there";
}

// --- Running -------------------------------------------------------------------------------------

// The order of threads: 0 ascending, 1 descending, else shuffled by this seed before each sweep.
static void arrange(std::vector<unsigned>& order, unsigned& seed) {
    for (std::size_t left = order.size(); seed > 1 && left > 1; --left) {
        seed = (seed * 1664525u + 1013904223u) | 2u;  // Numerical Recipes' generator, never 0 or 1
        std::swap(order[left - 1], order[(seed >> 8) % left]);
    }
}

static bool run_block(unsigned seed) {
    std::memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    std::vector<unsigned> order(fibers.size());
    for (unsigned number = 0; number < fibers.size(); ++number) {
        start(fibers[number], number);
        order[number] = seed == 1 ? static_cast<unsigned>(fibers.size()) - 1 - number : number;
    }
    for (;;) {
        arrange(order, seed);
        for (unsigned number : order)
            if (fibers[number].state == State::ready) resume(fibers[number]);
        if (std::all_of(fibers.begin(), fibers.end(),
                        [](const Fiber& fiber) { return fiber.state == State::finished; }))
            return true;
        if (!release_warps() && !release_barrier()) {
            report_deadlock();
            return false;
        }
    }
}

static void reserve_stacks(std::size_t count) {
    if (count <= stack_count) return;
    std::free(stacks);
    stacks = static_cast<char*>(std::malloc(count * stack_bytes));
    stack_count = count;
}

static const char* run_grid(const unsigned* sizes, unsigned seed) {
    gridDim = {sizes[0], sizes[1], sizes[2]};
    blockDim = {sizes[3], sizes[4], sizes[5]};
    fibers.assign(std::size_t(blockDim.x) * blockDim.y * blockDim.z, Fiber());
    reserve_stacks(fibers.size());
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
                if (!run_block(seed)) return message.c_str();
    return nullptr;
}

template <class... Parameters, std::size_t... Index>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<Index...>) {
    kernel(*static_cast<std::remove_cv_t<Parameters>*>(arguments[Index])...);
}

template <class... Parameters>
const char* launch(void (*function)(Parameters...), const unsigned* sizes, void** values,
                   unsigned seed) {
    kernel = reinterpret_cast<void*>(function);
    arguments = values;
    kernel_of_type = [](void* untyped, void** values) {
        call(reinterpret_cast<void (*)(Parameters...)>(untyped), values,
             std::index_sequence_for<Parameters...>());
    };
    return run_grid(sizes, seed);
}

// --- Warps ---------------------------------------------------------------------------------------

template <class T>
T shuffle(int line, unsigned mask, T value, int source) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
    Fiber* self = current;
    self->mask = mask;
    self->source = source;
    std::memcpy(&self->value, &value, sizeof(T));
    suspend(State::warp, line);
    std::memcpy(&value, &self->value, sizeof(T));
    return value;
}

template <class T>
T shuffle_index(int line, unsigned mask, T value, int index, int width = 32) {
    int lane = lane_of(*current);
    return shuffle(line, mask, value, lane / width * width + index % width);
}

template <class T>
T shuffle_up(int line, unsigned mask, T value, int delta, int width = 32) {
    int lane = lane_of(*current);
    return shuffle(line, mask, value, lane % width >= delta ? lane - delta : lane);
}

template <class T>
T shuffle_down(int line, unsigned mask, T value, int delta, int width = 32) {
    int lane = lane_of(*current);
    return shuffle(line, mask, value, lane % width + delta < width ? lane + delta : lane);
}

template <class T>
T shuffle_xor(int line, unsigned mask, T value, int bits, int width = 32) {
    int lane = lane_of(*current), source = lane ^ bits;
    return shuffle(line, mask, value, source / width <= lane / width ? source : lane);
}

// A conversion of the GPU saturates; C++ leaves what does not fit undefined.
template <class Integer, class Float>
Integer saturate(Float value, Integer of_nan) {
    if (value != value) return of_nan;
    constexpr Integer low = std::numeric_limits<Integer>::min();
    constexpr Integer high = std::numeric_limits<Integer>::max();
    if (value <= static_cast<Float>(low)) return low;
    return value >= static_cast<Float>(high) ? high : static_cast<Integer>(value);
}

template <class T>
struct Same {  // a parameter of this type takes no part in the deduction of T
    using type = T;
};

template <class To, class From>
To reinterpret(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}

}  // namespace emulation

#define __syncthreads() emulation::suspend(emulation::State::barrier, __LINE__)
#define __syncwarp() emulation::shuffle_index(__LINE__, 0xffffffffu, 0, 0)
#define __shfl_sync(...) emulation::shuffle_index(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) emulation::shuffle_up(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emulation::shuffle_down(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) emulation::shuffle_xor(__LINE__, __VA_ARGS__)
static inline void __threadfence() {}

// --- Atomics: all return the old value -----------------------------------------------------------

template <class T>
T atomicAdd(T* address, typename emulation::Same<T>::type value) {
    return std::exchange(*address, static_cast<T>(*address + value));
}

template <class T>
T atomicMax(T* address, typename emulation::Same<T>::type value) {
    return std::exchange(*address, std::max(*address, value));
}

template <class T>
T atomicMin(T* address, typename emulation::Same<T>::type value) {
    return std::exchange(*address, std::min(*address, value));
}

template <class T>
T atomicExch(T* address, typename emulation::Same<T>::type value) {
    return std::exchange(*address, value);
}

template <class T>
T atomicCAS(T* address, typename emulation::Same<T>::type compare, typename emulation::Same<T>::type value) {
    return std::exchange(*address, *address == compare ? value : *address);
}

// --- Scalars: what <cmath> does not name ---------------------------------------------------------

using std::max;
using std::min;

static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
static inline double __dsqrt_rn(double a) { return __builtin_sqrt(a); }

static inline int __float_as_int(float a) { return emulation::reinterpret<int>(a); }
static inline float __int_as_float(int a) { return emulation::reinterpret<float>(a); }
static inline unsigned __float_as_uint(float a) { return emulation::reinterpret<unsigned>(a); }
static inline float __uint_as_float(unsigned a) { return emulation::reinterpret<float>(a); }
static inline long long __double_as_longlong(double a) {
    return emulation::reinterpret<long long>(a);
}
static inline double __longlong_as_double(long long a) { return emulation::reinterpret<double>(a); }

// cvt.rzi (PTX ISA) saturates; of NaN it makes 0, but 1 << 63 where the integer has 64 bits.
#define EMULATED_CONVERSION(name, Float, Integer, of_nan) \
    static inline Integer name(Float a) { return emulation::saturate<Integer>(a, of_nan); }
EMULATED_CONVERSION(__float2int_rz, float, int, 0)
EMULATED_CONVERSION(__double2int_rz, double, int, 0)
EMULATED_CONVERSION(__float2uint_rz, float, unsigned, 0)
EMULATED_CONVERSION(__double2uint_rz, double, unsigned, 0)
EMULATED_CONVERSION(__float2ll_rz, float, long long, std::numeric_limits<long long>::min())
EMULATED_CONVERSION(__double2ll_rz, double, long long, std::numeric_limits<long long>::min())
EMULATED_CONVERSION(__float2ull_rz, float, unsigned long long, 1ull << 63)
EMULATED_CONVERSION(__double2ull_rz, double, unsigned long long, 1ull << 63)

static inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}

// What a test calls in place of a launch; null, or the reason why the kernel cannot end.
#define EMULATED_KERNEL(name)                                                               \
    extern "C" const char* launch_##name(const unsigned* sizes, void** arguments,           \
                                         unsigned seed) {                                   \
        return emulation::launch(name, sizes, arguments, seed);                      \
    }
