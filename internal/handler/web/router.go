// SPDX-License-Identifier: Apache-2.0

package web

import "net/http"

// Router is where a role registers its addresses. http.ServeMux is one, and says what a pattern is.
type Router interface {
	HandleFunc(pattern string, handle func(http.ResponseWriter, *http.Request))
}
