// The tile registers of AMX. In assembly, since GCC's intrinsics do not tell the compiler what memory they read: it may
// then leave out what was written there, and they take no template's number.
// Included once per translation unit, inside its unnamed namespace; amx_emulated/ has the same interface.

#include "isa/shared/tile_configuration.inl"

/// One of the eight; rows of memory lie `stride` bytes apart.
template <int kNumber>
struct TileRegister {
    static constexpr int number = kNumber;

    static void zero() { __asm__ volatile("tilezero %%tmm%c0" : : "i"(kNumber)); }
    static void load(const void* from, size_t stride) {
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kNumber) : "memory");
    }
    static void store(void* to, size_t stride) {
        __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kNumber) : "memory");
    }
};

/// sums[m][n] += sum over k and i of weights[m][4 k + i] * inputs[k][4 n + i]: s8 times u8, added to 32 bits.
template <typename Sums, typename Weights, typename Inputs>
inline void add_products() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(int{Sums::number}), "i"(int{Weights::number}), "i"(int{Inputs::number}));
}

/// sums[m][n] += sum over k and i of left[m][2 k + i] * right[k][2 n + i]: bfloat16, added to float32.
template <typename Sums, typename Left, typename Right>
inline void add_pair_products() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     :
                     : "i"(int{Sums::number}), "i"(int{Left::number}), "i"(int{Right::number}));
}

/// Of the thread that calls it: before it uses the registers, and when it does so no more, which makes its switches of
/// context short again.
void configure_tiles() noexcept { __asm__ volatile("ldtilecfg %0" : : "m"(kWholeTiles)); }
void release_tiles() noexcept { __asm__ volatile("tilerelease"); }
