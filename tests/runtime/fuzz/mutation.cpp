#include "mutation.h"

#include <cstring>
#include <limits>

namespace fuzz {
namespace {

// The layout is told in optkit/runtime/packing.py.
constexpr size_t kHeader = 64, kStep = 96, kSection = 16;

uint32_t read32(const Bytes& bytes, size_t at) {
    uint32_t number = 0;
    if (at + 4 <= bytes.size())
        std::memcpy(&number, bytes.data() + at, 4);
    return number;
}

void write32(Bytes& bytes, size_t at, uint32_t number) {
    if (at + 4 <= bytes.size())
        std::memcpy(bytes.data() + at, &number, 4);
}

void write64(Bytes& bytes, size_t at, uint64_t number) {
    if (at + 8 <= bytes.size())
        std::memcpy(bytes.data() + at, &number, 8);
}

uint64_t read64(const Bytes& bytes, size_t at) { return read32(bytes, at) | uint64_t(read32(bytes, at + 4)) << 32; }

/// Where the tables of a program begin, taken from its seed, which is valid.
struct Places {
    size_t values, steps, sections, tables, step_table, section_table, data;

    explicit Places(const Bytes& seed)
        : values(read32(seed, 12)), steps(read32(seed, 16)), sections(read32(seed, 20)),
          tables(values + read32(seed, 24) + read32(seed, 28)), step_table(kHeader + 4 * tables),
          section_table(step_table + kStep * steps), data(section_table + kSection * sections) {}
};

uint32_t odd_number(Random& random, const Bytes& bytes) {
    static const uint32_t numbers[] = {0,        1,        2,           3,           4,           5,          7,
                                       8,        16,       31,          32,          33,          63,         64,
                                       65,       127,      255,         256,         65535,       65536,      65537,
                                       1u << 20, 1u << 24, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFF0u, 0xFFFFFFFFu};
    switch (random.below(4)) {
        case 0:
            return uint32_t(random.below(14));
        case 1:
            return numbers[random.below(sizeof numbers / sizeof *numbers)];
        case 2:
            return uint32_t(random.below(bytes.size() + 8));
        default:
            return uint32_t(random.next());
    }
}

uint32_t odd_float(Random& random) {
    static const float numbers[] = {0.0f,
                                    -0.0f,
                                    1.0f,
                                    -1.0f,
                                    1e-45f,
                                    1e-38f,
                                    -1e-30f,
                                    1e30f,
                                    3.4e38f,
                                    -3.4e38f,
                                    std::numeric_limits<float>::infinity(),
                                    -std::numeric_limits<float>::infinity(),
                                    std::numeric_limits<float>::quiet_NaN()};
    uint32_t bits;
    std::memcpy(&bits, &numbers[random.below(sizeof numbers / sizeof *numbers)], 4);
    return bits;
}

void change_step(Bytes& bytes, const Places& places, Random& random) {
    const size_t step = places.step_table + kStep * random.below(places.steps);
    switch (random.below(6)) {
        case 0:  // what it is
            return write32(bytes, step, uint32_t(random.below(14)));
        case 1:  // what it reads and makes
            return write32(bytes, step + 4 + 4 * random.below(5), uint32_t(random.below(places.values + 1)));
        case 2:  // integers
            return write32(bytes, step + 24 + 4 * random.below(6), odd_number(random, bytes));
        case 3:  // floats
            return write32(bytes, step + 48 + 4 * random.below(4), odd_float(random));
        case 4:  // sections
            return write32(bytes, step + 64 + 4 * random.below(8),
                           random.chance(20) ? 0xFFFFFFFFu : uint32_t(random.below(places.sections + 1)));
        default: {  // another step in its place
            const size_t other = places.step_table + kStep * random.below(places.steps);
            const Bytes copy(bytes.begin() + long(other), bytes.begin() + long(other + kStep));
            std::memcpy(bytes.data() + step, copy.data(), kStep);
        }
    }
}

void change_section(Bytes& bytes, const Places& places, Random& random) {
    if (!places.sections)
        return;
    const size_t section = places.section_table + kSection * random.below(places.sections);
    const size_t other = places.section_table + kSection * random.below(places.sections);
    switch (random.below(5)) {
        case 0:
            return write64(bytes, section, read64(bytes, section) + 64 * (random.below(5) - 2));
        case 1:
            return write64(bytes, section + 8, read64(bytes, section + 8) + random.below(17) - 8);
        case 2:
            return write64(bytes, section, read64(bytes, other));
        case 3:
            return write64(bytes, section + 8, read64(bytes, other + 8));
        default:
            return write64(bytes, section + 8 * random.below(2), random.next() >> random.below(64));
    }
}

void change_data(Bytes& bytes, const Places& places, Random& random) {
    if (places.data >= bytes.size())
        return;
    const size_t size = bytes.size() - places.data, at = places.data + random.below(size);
    switch (random.below(4)) {
        case 0:
            bytes[at] ^= uint8_t(1u << random.below(8));
            return;
        case 1:
            return write32(bytes, at / 4 * 4, odd_number(random, bytes));
        case 2:
            return write32(bytes, at / 4 * 4, odd_float(random));
        default:  // an index or a pointer that is nearly right
            bytes[at / 2 * 2] = uint8_t(bytes[at / 2 * 2] + (random.chance(50) ? 1 : 255));
    }
}

void change_size(Bytes& bytes, Random& random) {
    bytes.resize(random.chance(50) ? random.below(bytes.size()) : bytes.size() + random.below(300));
    if (random.chance(70))
        write64(bytes, 32, bytes.size());
}

}  // namespace

Bytes mutate(const Bytes& seed, Random& random) {
    Bytes bytes = seed;
    const Places places(seed);
    for (size_t left = 1 + random.below(random.chance(70) ? 2 : 6); left > 0; --left)
        switch (random.below(12)) {
            case 0:
                write32(bytes, 8 + 4 * random.below(14), odd_number(random, bytes));
                break;
            case 1:
                write32(bytes, kHeader + 4 * random.below(places.tables),
                        random.chance(50) ? uint32_t(random.below(80)) : odd_number(random, bytes));
                break;
            case 2:
                bytes[random.below(bytes.size())] ^= uint8_t(1u << random.below(8));
                break;
            case 3:
                change_size(bytes, random);
                if (bytes.size() < seed.size())
                    return bytes;  // the places no longer hold
                break;
            case 4:
            case 5:
                change_section(bytes, places, random);
                break;
            case 6:
            case 7:
                change_data(bytes, places, random);
                break;
            default:
                change_step(bytes, places, random);
        }
    return bytes;
}

}  // namespace fuzz
