// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// forward opens a local port that leads to a port of a pod, by the credentials of the kubeconfig, as kubectl port-forward
// does. It returns the address of the local port, which is there until stop is called.
func forward(ctx context.Context, config *rest.Config, pod types.NamespacedName, port int32) (address string, stop func(), err error) {
	dialer, err := podDialer(config, pod)
	if err != nil {
		return "", nil, err
	}
	// What client-go logs about single connections is told by the requests that fail for it.
	running, cancel := context.WithCancel(logr.NewContext(ctx, logr.Discard()))
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(running, dialer,
		[]string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, nil, nil)
	if err != nil {
		cancel()
		return "", nil, err
	}
	ended := make(chan struct{})
	var failure error // once it has ended
	go func() {
		defer close(ended)
		failure = forwarder.ForwardPorts()
	}()
	patience := time.NewTimer(requestTimeout)
	defer patience.Stop()
	select {
	case <-ready:
	case <-ended:
		if err = failure; err == nil {
			err = errors.New("the connection has ended")
		}
	case <-patience.C: // dialling heeds no context
		err = errors.New("the API server does not answer")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return "", nil, err
	}
	ports, err := forwarder.GetPorts()
	if err != nil || len(ports) != 1 {
		cancel()
		return "", nil, errors.Join(err, errors.New("no local port"))
	}
	stop = func() {
		cancel()
		<-ended
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))), stop, nil
}

// podDialer connects to a pod over WebSocket. An API server that cannot do that (before Kubernetes 1.31), or a proxy before
// it, is asked again for SPDY.
func podDialer(config *rest.Config, pod types.NamespacedName) (httpstream.Dialer, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	target := base.JoinPath("api", "v1", "namespaces", pod.Namespace, "pods", pod.Name, "portforward")
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	// The transport has the credentials already; the client may have no timeout, which would end the stream.
	client, err := rest.HTTPClientFor(&rest.Config{Transport: transport})
	if err != nil {
		return nil, err
	}
	overSPDY := spdy.NewDialerForStreaming(upgrader, client, http.MethodPost, target)
	return portforward.NewFallbackDialerForStreaming(overWebSocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}
