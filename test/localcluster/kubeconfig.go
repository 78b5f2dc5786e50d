package localcluster

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// TokenKubeconfig writes a kubeconfig to path, for its owner only, with a token
// of an existing service account that is good for 24 hours, so that a program
// runs with that account's rights and no more.
func (c *ControlPlane) TokenKubeconfig(ctx context.Context, namespace, serviceAccount, path string) error {
	api, err := newClient(c.rest)
	if err != nil {
		return err
	}
	seconds := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceAccount}}
	if err := api.SubResource("token").Create(ctx, account, request); err != nil {
		return fmt.Errorf("request a token for %s/%s: %w", namespace, serviceAccount, err)
	}
	return writeKubeconfig(path, &rest.Config{
		Host:            c.rest.Host,
		BearerToken:     request.Status.Token,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.rest.CAData},
	})
}

// writeKubeconfig writes cfg with its certificates inside, mode 0600.
func writeKubeconfig(path string, cfg *rest.Config) error {
	const name = "localcluster"
	file := clientcmdapi.NewConfig()
	file.CurrentContext = name
	file.Clusters[name] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	file.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData, Token: cfg.BearerToken,
	}
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		return fmt.Errorf("write the kubeconfig %s: %w", path, err)
	}
	return nil
}
