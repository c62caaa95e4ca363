// Package config reads a filter's configuration where it is JSON: one object, whose members are looked up by name.
//
// encoding/json reads more, and makes the module twice as large: it needs reflection and fmt, and nothing else here does.
package config

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrNoObject means that a text is no JSON object, or nests deeper than 32 levels.
var ErrNoObject = errors.New("the configuration is no JSON object")

// mostDepth is how deep values may nest.
const mostDepth = 32

// Object holds the members of an object by name. Of members with the same name the last one counts.
type Object map[string]value

// value is a string without its quotes and escapes, or any other value (a number, true, a list...) as it is written.
type value struct {
	text     string
	isString bool
}

// Text reads a member that is a string, and leaves it as it is where there is none.
func (o Object) Text(name string, into *string) error {
	member, ok := o[name]
	if !ok {
		return nil
	}
	if !member.isString {
		return errors.New("the configuration's " + name + " is no text")
	}
	*into = member.text
	return nil
}

// Number reads a member that is a whole number from 1 to 4,294,967,295, and leaves it as it is where there is none.
func (o Object) Number(name string, into *uint64) error {
	member, ok := o[name]
	if !ok {
		return nil
	}
	number, err := strconv.ParseUint(member.text, 10, 32)
	if member.isString || err != nil || number == 0 {
		return errors.New("the configuration's " + name + " is no whole number from 1 to 4294967295")
	}
	*into = number
	return nil
}

// IsObject tells whether a text is meant to be an object: "{" comes first, but for white space.
func IsObject(text string) bool {
	r := reader{text: text}
	return r.peek() == '{'
}

// Parse reads an object.
func Parse(text string) (Object, error) {
	r := reader{text: text}
	object := Object{}
	ok := r.members(mostDepth, func(name string, member value) { object[name] = member })
	if r.peek(); !ok || r.at < len(text) || !utf8.ValidString(text) {
		return nil, ErrNoObject
	}
	return object, nil
}

// reader stands before the byte `at` of a text. What it cannot read it answers with false.
type reader struct {
	text string
	at   int
}

// peek passes over white space and returns the byte that comes then; 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// eat passes over white space and one byte, if it is this one.
func (r *reader) eat(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

// members reads an object.
func (r *reader) members(depth int, keep func(name string, member value)) bool {
	if depth == 0 || !r.eat('{') {
		return false
	}
	if r.eat('}') {
		return true
	}
	for {
		name, ok := r.quoted()
		if !ok || !r.eat(':') {
			return false
		}
		member, ok := r.value(depth - 1)
		if !ok {
			return false
		}
		keep(name, member)
		if !r.eat(',') {
			return r.eat('}')
		}
	}
}

// elements passes over a list.
func (r *reader) elements(depth int) bool {
	if depth == 0 || !r.eat('[') {
		return false
	}
	if r.eat(']') {
		return true
	}
	for {
		if _, ok := r.value(depth - 1); !ok {
			return false
		}
		if !r.eat(',') {
			return r.eat(']')
		}
	}
}

// value reads any value: a string is unescaped, the others are returned as they are written.
func (r *reader) value(depth int) (value, bool) {
	c := r.peek()
	start, ok := r.at, false
	switch c {
	case '"':
		text, ok := r.quoted()
		return value{text, true}, ok
	case '{':
		ok = r.members(depth, func(string, value) {})
	case '[':
		ok = r.elements(depth)
	case 't':
		ok = r.word("true")
	case 'f':
		ok = r.word("false")
	case 'n':
		ok = r.word("null")
	default:
		ok = r.number()
	}
	return value{r.text[start:r.at], false}, ok
}

func (r *reader) word(word string) bool {
	if len(r.text)-r.at < len(word) || r.text[r.at:r.at+len(word)] != word {
		return false
	}
	r.at += len(word)
	return true
}

// number passes over -0.5e+3 and the like.
func (r *reader) number() bool {
	r.oneOf("-")
	if !r.oneOf("0") && !r.digits() {
		return false
	}
	if r.oneOf(".") && !r.digits() {
		return false
	}
	if r.oneOf("eE") {
		r.oneOf("+-")
		return r.digits()
	}
	return true
}

func (r *reader) digits() bool {
	start := r.at
	for r.oneOf("0123456789") {
	}
	return r.at > start
}

// oneOf passes over the next byte, if it is among these.
func (r *reader) oneOf(bytes string) bool {
	for i := range len(bytes) {
		if r.at < len(r.text) && r.text[r.at] == bytes[i] {
			r.at++
			return true
		}
	}
	return false
}

// quoted reads a string.
func (r *reader) quoted() (string, bool) {
	if !r.eat('"') {
		return "", false
	}
	var unescaped []byte
	for r.at < len(r.text) {
		c := r.text[r.at]
		r.at++
		switch {
		case c == '"':
			return string(unescaped), true
		case c < ' ':
			return "", false
		case c == '\\':
			decoded, ok := r.escape()
			if !ok {
				return "", false
			}
			unescaped = utf8.AppendRune(unescaped, decoded)
		default:
			unescaped = append(unescaped, c)
		}
	}
	return "", false
}

// escape reads what follows a backslash.
func (r *reader) escape() (rune, bool) {
	if r.at == len(r.text) {
		return 0, false
	}
	c := r.text[r.at]
	r.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case 'u':
		first, ok := r.hex()
		if !ok || !utf16.IsSurrogate(first) {
			return first, ok
		}
		// The second half of a pair is an escape too; half a pair stands for nothing.
		if !r.word(`\u`) {
			return 0, false
		}
		second, ok := r.hex()
		both := utf16.DecodeRune(first, second)
		return both, ok && both != utf8.RuneError
	}
	return 0, false
}

// hex reads four hexadecimal digits.
func (r *reader) hex() (rune, bool) {
	var value rune
	for range 4 {
		if r.at == len(r.text) {
			return 0, false
		}
		switch c := rune(r.text[r.at]); {
		case '0' <= c && c <= '9':
			value = value<<4 | (c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			value = value<<4 | (c | 0x20 - 'a' + 10)
		default:
			return 0, false
		}
		r.at++
	}
	return value, true
}
