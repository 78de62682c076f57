// Command oci-registry serves go-containerregistry's registry, in memory, on a loopback address: the OCI
// 1.1 API with or without referrers. For tests; it keeps nothing and asks nobody who they are.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "address to listen on")
	referrers := flag.Bool("referrers", true, "serve the referrers API")
	flag.Parse()
	server := &http.Server{
		Addr:              *address,
		ReadHeaderTimeout: 5 * time.Second,
		Handler: registry.New(
			registry.Logger(log.New(io.Discard, "", 0)),
			registry.WithReferrersSupport(*referrers),
		),
	}
	log.Fatal(server.ListenAndServe())
}
