// Products of four u8 and four s8, added to 32 bits, for instruction sets that have none: as two pairs of int16.
// Included once per translation unit, inside its unnamed namespace, after vector.inl and add_products.

/// A vector of s8, four a lane, as what they are multiplied by wants them.
struct Quads {
    Ints even, odd;  // int16, two a lane

    static Quads of(Ints s8) { return {widened(s8 << 8), widened(s8)}; }

    // Vector by vector: a copy of the whole goes through the stack in halves, which stalls whoever loads it next.
    static Quads load(const float* from) { return {(Ints)read(from), (Ints)read(from + kWidth)}; }
    void store(float* to) const {
        write(to, (Floats)even);
        write(to + kWidth, (Floats)odd);
    }

    Ints add(Ints sums, Ints u8) const {
        return add_products(add_products(sums, u8 & 0x00FF00FF, even), (u8 >> 8) & 0x00FF00FF, odd);
    }

private:
    typedef int16_t Shorts __attribute__((vector_size(4 * OPTKIT_WIDTH)));

    static Ints widened(Ints upper) { return (Ints)((Shorts)upper >> 8); }
};
