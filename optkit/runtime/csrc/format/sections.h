// The bytes of a packed program (layout: optkit/runtime/packing.py): its numbers, and its arrays, which lie inside.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>

#include "format/spec.h"

namespace optkit {

[[noreturn]] inline void fail(const std::string& what) { throw FormatError("the packed program is damaged: " + what); }

inline void check(bool holds, const std::string& what) {
    if (!holds)
        fail(what);
}

/// Numbers at places of the program, and the arrays that its section table lists.
class Sections {
public:
    Sections(const uint8_t* bytes, size_t size) : bytes_(bytes), size_(size) {}

    size_t size() const { return size_; }

    template <typename T>
    T load(size_t place) const {
        T value;
        std::memcpy(&value, bytes_ + place, sizeof value);
        return value;
    }

    template <typename T, size_t count>
    void load(T (&values)[count], size_t place) const {
        std::memcpy(values, bytes_ + place, sizeof values);
    }

    uint32_t u32(size_t place) const { return load<uint32_t>(place); }

    bool begin_with(const char* word) const {
        return size_ >= std::strlen(word) && std::memcmp(bytes_, word, std::strlen(word)) == 0;
    }

    /// Says where the table of `count` sections begins.
    void find(size_t table, uint32_t count) {
        check(table + kEntry * size_t(count) <= size_, "its tables do not fit");
        table_ = table;
        count_ = count;
    }

    /// The array in a section: `count` numbers, or none when the step names no section.
    template <typename T>
    View<T> view(uint32_t number, uint64_t count) const {
        if (number == kNone)
            return {};
        const uint64_t length = bytes(number), offset = load<uint64_t>(entry(number));
        check(offset % kAlignment == 0 && offset <= size_ && length <= size_ - offset, "a section lies outside");
        check(length == count * sizeof(T), "a section has the wrong length");
        const T* numbers = reinterpret_cast<const T*>(bytes_ + offset);
        if constexpr (std::is_floating_point_v<T>)
            for (uint64_t i = 0; i < count; ++i)
                check(std::isfinite(numbers[i]), "a section holds a number that is not finite");
        return {numbers, size_t(count)};
    }

    /// The length that the table gives of a section.
    uint64_t bytes(uint32_t number) const {
        check(number < count_, "a step names a section that is not there");
        return load<uint64_t>(entry(number) + 8);
    }

private:
    static constexpr size_t kEntry = 16, kAlignment = 64;

    size_t entry(uint32_t number) const { return table_ + kEntry * size_t(number); }

    const uint8_t* bytes_;
    size_t size_, table_ = 0;
    uint32_t count_ = 0;
};

}  // namespace optkit
