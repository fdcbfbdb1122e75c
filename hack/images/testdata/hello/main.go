// SPDX-License-Identifier: Apache-2.0

// Command hello is a program to make an image of.
package main

import "fmt"

var version = "unset"

func main() { fmt.Println(version) }
